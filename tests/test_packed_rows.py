"""Examples that share a row: each has the loss, and all together the gradient, that they have alone."""

from functools import cache

import jax
import numpy as np
import pytest
from flax import nnx

from tests.closeness import assert_close, model_roundings
from tests.data.toys import example
from tests.models.lora_toys import toy_of
from tests.models.toys import toy_config
from tunix_exp.data.batch import Batch, laid_out
from tunix_exp.data.tokens import TokenizedExample
from tunix_exp.models.loss import response_nll

WIDTH = 24
# Among them one of a single response token, and two that fill a row together.
LENGTHS = ((3, 9), (1, 11), (5, 6), (2, 4), (4, 20), (1, 2))
ROWS = ((0, 1), (2, 3, 5), (4,))
FORWARD = model_roundings(toy_config(num_layers=2), WIDTH)
MODELS = pytest.mark.parametrize(("family", "loop"), [
    ("gpt2", "unroll"), ("gpt2", "scan"), ("gemma2", "unroll"), ("gemma3", "scan"), ("qwen2", "scan"),
])  # fmt: skip


@cache
def program(family, loop):
    """Per-row losses with their sum's gradient, and the parameters."""
    # Two layers have both of Gemma's kinds, local and global.
    kinds = {"global_every": 2} if family.startswith("gemma") else {}
    made = toy_of(family, layer_loop=loop, num_layers=2, **kinds)
    graphdef, params = nnx.split(made)

    def summed(params, *arrays):
        nll_B, _ = response_nll(nnx.merge(graphdef, params), *arrays)
        return nll_B.sum(), nll_B

    return jax.jit(jax.value_and_grad(summed, has_aux=True)), params


def examples(seed=0):
    rng = np.random.default_rng(seed)
    return [
        TokenizedExample(
            example(name=f"x-{n}"),
            rng.integers(0, 31, length, dtype=np.int32),
            prompt,
            np.arange(length) >= prompt,
        )
        for n, (prompt, length) in enumerate(LENGTHS)
    ]


def packed(made) -> Batch:
    return laid_out([[made[n] for n in row] for row in ROWS], (), width=WIDTH, pad_id=0)


def nll_of_each(family, loop, batch: Batch):
    """The loss of each example of `batch`, in their order: one row for each, the others' marks taken away."""
    call, params = program(family, loop)
    losses = []
    for row, segment_ids_T in enumerate(batch.segment_ids_BT):
        for segment in range(1, segment_ids_T.max() + 1):
            own_BT = batch.loss_mask_BT & (batch.segment_ids_BT == segment)
            (_, nll_B), _ = call(params, batch.tokens_BT, batch.segment_ids_BT, own_BT)
            losses.append(float(nll_B[row]))
    return losses


@MODELS
def test_the_loss_of_each_example_is_that_of_the_example_alone(family, loop):
    made = examples()
    order = [n for row in ROWS for n in row]
    padded = laid_out([[made[n]] for n in order], (), width=WIDTH, pad_id=0)
    alone = nll_of_each(family, loop, padded)
    assert_close(nll_of_each(family, loop, packed(made)), alone, roundings=FORWARD)


@MODELS
def test_the_gradient_of_packed_rows_is_that_of_padded_ones(family, loop):
    call, params = program(family, loop)
    made = examples()
    padded = laid_out([[one] for one in made], (), width=WIDTH, pad_id=0)
    results = [
        call(params, batch.tokens_BT, batch.segment_ids_BT, batch.loss_mask_BT)
        for batch in (packed(made), padded)
    ]
    together, apart = ((loss, gradient) for (loss, _), gradient in results)
    assert_close(together, apart, roundings=3 * FORWARD)


@MODELS
def test_another_text_in_one_segment_changes_no_bit_of_the_others_losses(family, loop):
    made, other = examples(), examples(seed=1)
    before = nll_of_each(family, loop, packed(made))
    for changed in range(len(made)):
        after = nll_of_each(family, loop, packed([*made[:changed], other[changed], *made[changed + 1 :]]))
        place = [n for row in ROWS for n in row].index(changed)
        assert after[place] != before[place]
        assert after[:place] + after[place + 1 :] == before[:place] + before[place + 1 :]
