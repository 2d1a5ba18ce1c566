import math
import os
import signal

import jax
import numpy as np
import pytest

from tests.training.toy import ADAMW, SFT, Batches, feed, toy
from tunix_exp.errors import Interrupted, NonFinite, UserError
from tunix_exp.training import optim
from tunix_exp.training.checkpoint import Checkpoints
from tunix_exp.training.loop import Schedule, train
from tunix_exp.training.meter import Meter
from tunix_exp.training.step import make_step

SCHEDULE = Schedule(last_step=10, log_every=1, save_every=None, heldout_every=None, stop_at=None)


def run(
    folder,
    *,
    schedule=SCHEDULE,
    config=ADAMW,
    source=None,
    resume=False,
    on_step=lambda row: None,
    heldout=None,
    place=jax.device_put,
    alter=lambda metrics: metrics,
):
    graphdef, state = toy(config)
    step = make_step(graphdef, optim.structure(config), SFT.loss)

    def altered(*arguments):
        state, metrics = step(*arguments)
        return state, alter(metrics)

    rows = []
    with Checkpoints(folder, keep=3) as checkpoints:
        if resume:
            state = checkpoints.restore(state, step=checkpoints.newest())
        state = train(
            state,
            altered,
            feed(graphdef, source or Batches(), place=place),
            optim.scalars(config, total_steps=schedule.last_step),
            meter=Meter({12: 1e6}, None),
            schedule=schedule,
            checkpoints=checkpoints,
            on_row=rows.append,
            on_step=on_step,
            heldout=heldout or (lambda state, step: None),
        )
    return state, rows


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_ten_steps_equal_four_and_a_resume_and_six_bit_for_bit(tmp_path):
    straight, rows = run(tmp_path / "straight")
    with pytest.raises(Interrupted, match="stopped after step 4 of 10"):
        run(tmp_path / "split", schedule=Schedule(10, 1, None, None, stop_at=4))
    resumed, later = run(tmp_path / "split", resume=True)
    same(straight, resumed)
    assert [r.loss for r in rows[4:]] == [r.loss for r in later]


class Recording(Batches):
    """A source that writes down which steps were asked for."""

    def __init__(self, said):
        super().__init__()
        self.said = said

    def arrays(self, step):
        self.said.append(f"batch {step}")
        return super().arrays(step)


def test_the_next_batch_is_on_its_way_before_a_step_is_settled(tmp_path):
    said = []
    run(
        tmp_path,
        schedule=Schedule(3, 1, None, None, None),
        source=Recording(said),
        on_step=lambda row: said.append(f"row {row.step}"),
    )
    assert said == ["batch 0", "batch 1", "batch 2", "row 1", "row 2", "row 3"]


def test_a_step_takes_nothing_from_the_host_that_was_not_put_on_the_device(tmp_path):
    with pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed host-to-device transfer"):
        run(tmp_path, place=lambda batch: batch)


def test_every_logged_step_comes_once_and_in_order(tmp_path):
    _, rows = run(tmp_path, schedule=Schedule(10, 4, None, None, None))
    assert [row.step for row in rows] == [1, 4, 8, 10]


def test_a_loss_that_is_no_number_stops_the_run_and_names_step_and_batch(tmp_path):
    config = ADAMW.model_copy(update={"peak_lr": 1e30, "clip_norm": None})
    with pytest.raises(NonFinite, match=r"(?s)at step \d+.*step\d+-row0.*lower optim\.peak_lr"):
        run(tmp_path, config=config)


@pytest.mark.parametrize("figure", ["loss", "grad_norm"])
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_figure_that_is_not_finite_stops_the_run_and_nothing_is_saved_of_it(tmp_path, figure, value):
    count = iter(range(10))

    def broken(metrics):
        return metrics._replace(**{figure: np.float32(value)}) if next(count) == 2 else metrics

    with pytest.raises(NonFinite, match=r"(?s)at step 3.*lower optim\.peak_lr"):
        run(tmp_path, alter=broken, schedule=Schedule(10, 1, 1, None, None))
    assert sorted(int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()) == [1, 2]


def test_a_first_step_that_is_not_finite_is_the_weights_fault_and_no_update_s(tmp_path):
    with pytest.raises(NonFinite, match=r"no update came before it: look at model\.weights"):
        run(tmp_path, alter=lambda metrics: metrics._replace(loss=np.float32(math.nan)))


def test_checkpoints_fall_due_and_the_oldest_go(tmp_path):
    run(tmp_path, schedule=Schedule(10, 1, save_every=2, heldout_every=None, stop_at=None))
    assert sorted(int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()) == [6, 8, 10]


def test_held_out_loss_falls_due(tmp_path):
    seen = []
    run(tmp_path, schedule=Schedule(10, 1, None, 5, None), heldout=lambda state, step: seen.append(step))
    assert seen == [5, 10]


def test_an_interrupt_lets_the_step_end_and_saves(tmp_path):
    def interrupt(row):
        if row.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="its checkpoint is saved"):
        run(tmp_path, on_step=interrupt)
    assert [int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()] == [4]


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    run(tmp_path)
    _, state = toy(ADAMW.model_copy(update={"clip_norm": None}))
    wider = state._replace(params=jax.tree.map(lambda x: np.zeros((*x.shape, 2), np.float32), state.params))
    with (
        Checkpoints(tmp_path, keep=1) as checkpoints,
        pytest.raises(UserError, match="does not hold this model"),
    ):
        checkpoints.restore(wider, step=10)


def test_a_state_after_the_last_step_is_saved_anew_and_nothing_else_falls_due(tmp_path):
    graphdef, state = toy(ADAMW)
    done = state._replace(step=jax.numpy.int32(10))
    said = []
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        ended = train(
            done,
            make_step(graphdef, optim.structure(ADAMW), SFT.loss),
            feed(graphdef, Recording(said)),
            optim.scalars(ADAMW, total_steps=10),
            meter=Meter({12: 1e6}, None),
            schedule=Schedule(10, 1, None, 5, None),
            checkpoints=checkpoints,
            on_row=said.append,
            on_step=said.append,
            heldout=lambda state, step: said.append(f"held-out {step}"),
        )
        assert checkpoints.newest() == 10
    same(ended, done)
    assert said == ["held-out 10"]


def test_a_checkpoint_is_judged_by_its_own_list_before_a_value_is_read(tmp_path):
    run(tmp_path)
    _, state = toy(ADAMW)
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.check(state, step=10)
        wider = state._replace(
            params=jax.tree.map(lambda x: np.zeros((*x.shape, 2), np.float32), state.params)
        )
        with pytest.raises(
            UserError, match=r"(?s)does not hold this model.*\[16\], the config gives .*\[16, 2\]"
        ):
            checkpoints.check(wider, step=10)
        with pytest.raises(UserError, match=r"(?s)opt_state\S* has no place"):
            checkpoints.check(state._replace(opt_state=()), step=10)
        with pytest.raises(UserError, match=r"(?s)step 11 cannot be read.*go on from the one before it"):
            checkpoints.check(state, step=11)
