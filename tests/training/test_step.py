import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.closeness import assert_close, model_roundings
from tests.models.lora_toys import lora_config
from tests.training.toy import ADAMW, LION, MODEL, SFT, batch, toy
from tunix_exp.models import lora, sharding
from tunix_exp.models.adapter import NoAdapterConfig
from tunix_exp.models.architecture import build
from tunix_exp.models.digest import parameter_count, weight_hash
from tunix_exp.models.loss_chunk import LossChunk
from tunix_exp.objectives.objective import Held, Summed
from tunix_exp.objectives.sft.batch import BatchArrays
from tunix_exp.training import optim, step
from tunix_exp.training.step import init_state, make_step, step_scalars

LORA = lora_config()
STEP = model_roundings(MODEL, tokens=12, passes=3)


def once(config, arrays, **more):
    graphdef, state = toy(config, **more)
    return step_of(graphdef, config)(state, arrays, optim.scalars(config, total_steps=10))


def step_of(graphdef, rule):
    return make_step(graphdef, optim.structure(rule), SFT.loss)


def test_no_weight_is_copied_before_its_update():
    rule = ADAMW.model_copy(update={"clip_norm": None})
    graphdef, state = toy(rule)
    scalars = optim.scalars(rule, total_steps=10)
    program = step_of(graphdef, rule).lower(state, batch(0), scalars).compile().as_text()
    weights = re.findall(r"%(\S*(?:kernel|embedding)___value\S*) = f32\[\S+ parameter\(", program)
    assert len(weights) >= 3 * (4 * MODEL.num_layers + 2)
    copied = set(re.findall(r" copy\(%(\S+?)\)", program))
    assert not copied & set(weights)


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_every_split_of_one_batch_gives_the_same_update(parts):
    whole, metrics = once(ADAMW, batch(3, rows=8))
    split, split_metrics = once(ADAMW.model_copy(update={"accumulation_steps": parts}), batch(3, rows=8))
    assert int(split_metrics.own["response_tokens"]) == int(metrics.own["response_tokens"])
    # Adam's first step is the gradient's sign where the gradient is rounding alone: compare the moments.
    found, expected = (
        (one.loss, one.grad_norm, state.opt_state)
        for one, state in ((split_metrics, split), (metrics, whole))
    )
    assert_close(found, expected, roundings=STEP)


def test_what_lies_in_the_padding_changes_nothing():
    arrays = batch(5)
    other = arrays._replace(
        tokens_BT=np.where(arrays.segment_ids_BT == 0, 7, arrays.tokens_BT).astype(np.int32)
    )
    _, first = once(ADAMW, arrays)
    _, second = once(ADAMW, other)
    assert_close((first.loss, first.grad_norm), (second.loss, second.grad_norm), roundings=STEP)


def test_the_loss_counts_marked_tokens_alone():
    _, metrics = once(ADAMW, batch(5))
    assert int(metrics.own["response_tokens"]) == int(batch(5).loss_mask_BT.sum())
    assert int(metrics.tokens) == int((batch(5).segment_ids_BT > 0).sum())


def test_a_batch_without_response_tokens_gives_zero_and_not_nan():
    arrays = batch(5)
    empty = BatchArrays(arrays.tokens_BT, arrays.segment_ids_BT, np.zeros_like(arrays.loss_mask_BT))
    _, metrics = once(LION.model_copy(update={"weight_decay": 0.0}), empty)
    assert float(metrics.loss) == 0.0
    assert float(metrics.grad_norm) == 0.0


def test_scalars_are_inputs_so_that_a_sweep_compiles_once():
    graphdef, _ = toy()
    step = step_of(graphdef, ADAMW)
    before = step._cache_size()
    for change in ({}, {"peak_lr": 1e-4}, {"weight_decay": 0.3}, {"clip_norm": 0.1}, {"warmup_steps": 5}):
        config = ADAMW.model_copy(update=change)
        _, state = toy(config, seed=len(change))
        again = step_of(graphdef, config)
        assert again is step
        again(state, batch(1), optim.scalars(config, total_steps=7))
    assert step._cache_size() <= max(before, 1)


def test_the_state_s_buffers_are_donated():
    graphdef, state = toy()
    step_of(graphdef, ADAMW)(state, batch(0), optim.scalars(ADAMW, total_steps=10))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.opt_state)))


def test_the_step_that_a_run_compiles_takes_its_state_s_buffers():
    graphdef, state = toy()
    structure, scalars = optim.structure(ADAMW), optim.scalars(ADAMW, total_steps=10)
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:1]).reshape(1, 1, 1), sharding.AXES)
    arguments = step.abstract_arguments(
        structure, state.params, SFT.shapes(4, 12), scalars, mesh=mesh, state_dtype="float32"
    )
    program = step.compile_step(graphdef, structure, SFT.loss, mesh, *arguments)
    ours = (state, batch(0), scalars, Held())
    placed = jax.tree.map(lambda part, like: jax.device_put(part, like.sharding), ours, arguments)
    after, _ = program(*placed)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(placed[0]))
    # and in their place lies the new state, so that the state is held once
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(after))
    assert program.memory_analysis().alias_size_in_bytes >= held


def test_scanned_and_unrolled_layers_train_alike():
    scan = MODEL.model_copy(update={"layer_loop": "scan", "remat": "block"})
    _, unrolled = once(ADAMW, batch(2))
    _, scanned = once(ADAMW, batch(2), model=scan)
    assert_close((scanned.loss, scanned.grad_norm), (unrolled.loss, unrolled.grad_norm), roundings=STEP)


def begun(adapter=LORA, rule=ADAMW, model=MODEL, loss_chunk=None):
    """Graph, state and frozen parameters of a model beside which an adapter is trained."""
    made = build(model, param_dtype="float32", compute_dtype="float32", seed=0)
    made.loss_chunk = made.loss_chunk if loss_chunk is None else loss_chunk
    graphdef, trained, frozen = lora.split(lora.attach(made, adapter, family="gpt2", seed=1))
    return graphdef, init_state(optim.structure(rule), trained, "float32"), frozen


def trained_with(arrays, adapter=LORA, rule=ADAMW, model=MODEL, *, steps=3):
    """State and frozen parameters after `steps` on `arrays`, and each step's loss and gradient norm."""
    graphdef, state, frozen = begun(adapter, rule, model)
    step, seen = step_of(graphdef, rule), []
    scalars = step_scalars(rule, adapter, {}, total_steps=10, seed=5)
    for _ in range(steps):
        state, metrics = step(state, arrays, scalars, Held(frozen))
        seen.append((float(metrics.loss), float(metrics.grad_norm)))
    return state, frozen, np.array(seen)


def test_beside_an_adapter_the_frozen_weights_are_neither_changed_nor_taken():
    state, (frozen,), seen = trained_with(batch(2))
    model = build(MODEL, param_dtype="float32", compute_dtype="float32", seed=0)
    assert weight_hash(frozen) == weight_hash(nnx.state(model))
    assert seen[2, 0] < seen[0, 0]
    assert all(leaf.any() for leaf in jax.tree.leaves(state.params))


def test_the_optimizer_keeps_nothing_for_frozen_weights():
    _, state, _ = begun()
    assert parameter_count(state.opt_state) == 2 * parameter_count(state.params) + 1


def products(adapter):
    """The shapes of all matrix products in a step's program for 36 tokens, a number that no weight has."""
    graphdef, state, frozen = begun(adapter)
    scalars = optim.scalars(ADAMW, total_steps=10)
    three_rows = jax.tree.map(lambda part: part[:3], batch(0))
    lowered = step_of(graphdef, ADAMW).lower(state, three_rows, scalars, Held(frozen))
    return set(re.findall(r"dot_general.*-> tensor<([0-9x]+)xf32>", lowered.as_text()))


def test_no_product_makes_the_gradient_of_a_frozen_weight():
    weights = {f"{a}x{b}" for one in ((16, 48), (16, 32), (31, 16)) for a, b in (one, one[::-1])} | {"16x16"}
    assert len(products(NoAdapterConfig(name="none")) & weights) >= 4
    assert not products(LORA) & weights


def carried(adapter):
    """How many arrays of the table's shape the loops of a step carry: over chunks, and the words of each."""
    graphdef, state, frozen = begun(adapter, loss_chunk=LossChunk(5, 8))
    in_chunks = jax.jit(partial(step._step, graphdef, optim.structure(ADAMW), SFT.loss))
    program = in_chunks.lower(state, batch(0), optim.scalars(ADAMW, total_steps=10), Held(frozen)).compile()
    loops = re.findall(r"= \((.*?)\) while\(", program.as_text())
    assert loops
    return max(loop.count(f"f32[{MODEL.vocab_size},{MODEL.width}]") for loop in loops)


def test_the_chunks_of_a_loss_carry_no_gradient_of_a_frozen_table():
    # the table itself, which each chunk reads
    assert carried(LORA) == 1
    assert carried(NoAdapterConfig(name="none")) == 2


@pytest.mark.parametrize(
    ("rule", "model"),
    [
        (ADAMW.model_copy(update={"accumulation_steps": 4}), MODEL),
        (ADAMW, MODEL.model_copy(update={"layer_loop": "scan", "remat": "block"})),
    ],
    ids=["split", "scan"],
)
def test_dropout_is_the_same_for_every_split_of_a_batch_and_both_layer_loops(rule, model):
    adapter, arrays = lora_config(dropout=0.5), batch(3, rows=8)
    _, _, whole = trained_with(arrays, adapter)
    _, _, other = trained_with(arrays, adapter, rule, model)
    assert_close(other.tolist(), whole.tolist(), roundings=3 * STEP)
    assert np.abs(trained_with(arrays)[2] / whole - 1).max() > 1e-2


def test_dropout_differs_from_step_to_step_and_is_the_seed_s():
    still = ADAMW.model_copy(update={"peak_lr": 0.0})
    _, _, seen = trained_with(batch(3), lora_config(dropout=0.5), still, steps=2)
    assert seen[0, 1] != seen[1, 1]
    np.testing.assert_array_equal(trained_with(batch(3), lora_config(dropout=0.5), still, steps=2)[2], seen)


def test_slices_are_summed_in_float32_whatever_the_parameters_are_in():
    def loss_of(params, part, rows_B):
        return Summed(params["w"].astype(jnp.float32) * jnp.where(rows_B[0] == 0, 1.0, 2.0**-9), {})

    arrays = batch(3, rows=257)
    _, grads = step._loss_and_gradients(loss_of, 257, SFT.loss, {"w": jnp.bfloat16(1)}, arrays)
    # in bfloat16, of which eight bits are kept, one stays one whatever small is added
    assert float(grads["w"]) == 1 + 256 * 2.0**-9
