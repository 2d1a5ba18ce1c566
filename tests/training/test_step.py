import jax
import numpy as np
import pytest

from tests.training.toy import ADAMW, LION, MODEL, batch, toy
from tunix_exp.training import optim
from tunix_exp.training.step import BatchArrays, make_step


def once(config, arrays, **more):
    graphdef, state = toy(config, **more)
    return make_step(graphdef, optim.structure(config))(state, arrays, optim.scalars(config, total_steps=10))


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_every_split_of_one_batch_gives_the_same_update(parts):
    whole, metrics = once(ADAMW, batch(3, rows=8))
    split, split_metrics = once(ADAMW.model_copy(update={"accumulation_steps": parts}), batch(3, rows=8))
    assert float(split_metrics.loss) == pytest.approx(float(metrics.loss), rel=1e-6)
    assert float(split_metrics.grad_norm) == pytest.approx(float(metrics.grad_norm), rel=1e-5)
    assert int(split_metrics.response_tokens) == int(metrics.response_tokens)
    # Adam's first step is the gradient's sign where the gradient is rounding alone: compare the moments.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-8), split.opt_state, whole.opt_state
    )


def test_what_lies_in_the_padding_changes_nothing():
    arrays = batch(5)
    other = arrays._replace(
        tokens_BT=np.where(arrays.segment_ids_BT == 0, 7, arrays.tokens_BT).astype(np.int32)
    )
    _, first = once(ADAMW, arrays)
    _, second = once(ADAMW, other)
    assert float(first.loss) == pytest.approx(float(second.loss), rel=1e-6)
    assert float(first.grad_norm) == pytest.approx(float(second.grad_norm), rel=1e-5)


def test_the_loss_counts_marked_tokens_alone():
    _, metrics = once(ADAMW, batch(5))
    assert int(metrics.response_tokens) == int(batch(5).loss_mask_BT.sum())
    assert int(metrics.tokens) == int((batch(5).segment_ids_BT > 0).sum())


def test_a_batch_without_response_tokens_gives_zero_and_not_nan():
    arrays = batch(5)
    empty = BatchArrays(arrays.tokens_BT, arrays.segment_ids_BT, np.zeros_like(arrays.loss_mask_BT))
    _, metrics = once(LION.model_copy(update={"weight_decay": 0.0}), empty)
    assert float(metrics.loss) == 0.0
    assert float(metrics.grad_norm) == 0.0


def test_scalars_are_inputs_so_that_a_sweep_compiles_once():
    graphdef, _ = toy()
    step = make_step(graphdef, optim.structure(ADAMW))
    before = step._cache_size()
    for change in ({}, {"peak_lr": 1e-4}, {"weight_decay": 0.3}, {"clip_norm": 0.1}, {"warmup_steps": 5}):
        config = ADAMW.model_copy(update=change)
        _, state = toy(config, seed=len(change))
        again = make_step(graphdef, optim.structure(config))
        assert again is step
        again(state, batch(1), optim.scalars(config, total_steps=7))
    assert step._cache_size() <= max(before, 1)


def test_the_state_s_buffers_are_donated():
    graphdef, state = toy()
    make_step(graphdef, optim.structure(ADAMW))(state, batch(0), optim.scalars(ADAMW, total_steps=10))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.opt_state)))


def test_scanned_and_unrolled_layers_train_alike():
    scan = MODEL.model_copy(update={"layer_loop": "scan", "remat": "block"})
    _, unrolled = once(ADAMW, batch(2))
    _, scanned = once(ADAMW, batch(2), model=scan)
    assert float(scanned.loss) == pytest.approx(float(unrolled.loss), rel=1e-5)
    assert float(scanned.grad_norm) == pytest.approx(float(unrolled.grad_norm), rel=1e-4)
