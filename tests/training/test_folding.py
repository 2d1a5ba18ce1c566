"""Whatever figure an objective gives is described in its METRICS."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from tests.training.toy import ADAMW, SFT, Batches, batch, feed, toy
from tunix_exp.objectives.objective import Collected, Summed
from tunix_exp.training import optim
from tunix_exp.training.step import make_step


@pytest.mark.parametrize(
    ("change", "of"),
    [
        ({"weigh": lambda batch: {"stray": jnp.int32(1)}}, "weigh"),
        ({"summed": lambda *_: Summed(jnp.float32(0), {"stray": jnp.float32(0)})}, "the loss"),
    ],
)
def test_a_figure_of_the_step_that_no_metric_describes_is_named_before_it_is_compiled(change, of):
    graphdef, state = toy()
    step = make_step(graphdef, optim.structure(ADAMW), dataclasses.replace(SFT.loss, **change))
    with pytest.raises(KeyError, match=rf"{of} gives \['stray'\], which METRICS does not describe"):
        jax.eval_shape(step, state, batch(0), optim.scalars(ADAMW, total_steps=1))


def test_a_figure_of_a_batch_s_making_that_no_metric_describes_is_named():
    def collect(policy, batch, own, programs):
        return Collected(batch, own, {"stray": 1.0}, {})

    graphdef, state = toy()
    made = feed(graphdef, Batches(), made=dataclasses.replace(SFT, collect=collect))
    with pytest.raises(KeyError, match=r"collect gives \['stray'\], which METRICS does not describe"):
        made.take(state, 0, settle=lambda: None)
