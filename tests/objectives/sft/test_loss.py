"""What fine-tuning reports of a mixture, set by set."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.closeness import assert_close, model_roundings
from tests.training.toy import ADAMW, MODEL, SFT, batch, toy
from tunix_exp.objectives.sft.batch import BatchArrays, MixedArrays
from tunix_exp.objectives.sft.loss import LOSS, loss_of
from tunix_exp.training import optim
from tunix_exp.training.folding import present
from tunix_exp.training.step import make_step

SETS = ("notes", "talks", "none")


def updated(loss, arrays, parts=1):
    rule = ADAMW.model_copy(update={"accumulation_steps": parts})
    graphdef, state = toy(rule)
    step = make_step(graphdef, optim.structure(rule), loss)
    return step(state, arrays, optim.scalars(rule, total_steps=10))


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_each_set_of_a_mixture_has_the_loss_of_its_rows_and_the_update_is_the_same(parts):
    arrays = batch(3, rows=8)
    set_B = jnp.array([0, 1, 0, 0, 1, 0, 1, 0])
    state, metrics = updated(loss_of(SETS), MixedArrays(*arrays, set_B), parts)
    plain, alone = updated(LOSS, arrays, parts)
    close = {"roundings": model_roundings(MODEL, tokens=12, passes=3)}
    assert_close((metrics.loss, state.opt_state), (alone.loss, plain.opt_state), **close)
    figures = {name: value.item() for name, value in metrics.own.items()}
    for number, name in enumerate(SETS[:2]):
        rows = np.asarray(set_B == number)
        _, own = updated(LOSS, BatchArrays(*(part[rows] for part in arrays)))
        assert_close(figures[f"loss/{name}"], own.loss, **close)
        assert figures[f"response_tokens/{name}"] == own.own["response_tokens"]
        assert figures[f"rows/{name}"] == rows.sum()
    assert figures["rows/none"] == figures["response_tokens/none"] == 0
    shown = present(figures, loss_of(SETS).metrics)
    assert figures.keys() - shown.keys() == {"loss/none"}


def test_equal_mixtures_share_one_program():
    assert loss_of(SETS) == loss_of(SETS)
    assert loss_of(SETS) != loss_of(SETS[:2])
    assert loss_of(()) is LOSS is SFT.loss
