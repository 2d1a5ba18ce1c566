import pytest

from tests.report.page.run_folder import PLAN
from tunix_exp.report.page.memory import memory_picture

MIB = 2**20


def number(percent):
    return float(percent.removesuffix("%"))


def test_parts_are_drawn_end_to_end_and_the_smaller_of_the_loss_and_the_backward_pass_is_left_out():
    bar = memory_picture(PLAN).bars[0]
    assert [part.tone for part in bar.segments] == [
        "parameters", "gradients", "block_gradients", "optimizer_state", "compute_weights",
        "saved_activations", "block", "batch",
    ]  # fmt: skip
    assert sum(number(part.width) for part in bar.segments) == pytest.approx(48.1, abs=0.01)
    ends = [number(part.x) + number(part.width) for part in bar.segments]
    assert [number(part.x) for part in bar.segments[1:]] == pytest.approx(ends[:-1], abs=0.01)
    planned = PLAN["planned"] | {"loss_bytes": 100 * MIB, "total_bytes": 491 * MIB}
    tones = [part.tone for part in memory_picture(PLAN | {"planned": planned}).bars[0].segments]
    assert "loss" in tones
    assert not {"block", "block_gradients"} & set(tones)


def test_a_plan_of_before_whose_gradients_are_one_part_is_drawn_as_it_was():
    planned = {key: held for key, held in PLAN["planned"].items() if key != "block_gradients_bytes"}
    tones = [part.tone for part in memory_picture(PLAN | {"planned": planned}).bars[0].segments]
    assert tones[1:3] == ["gradients", "optimizer_state"]
    assert "block" in tones


def test_the_compiled_step_has_a_bar_of_its_own_on_the_same_scale():
    bar = memory_picture(PLAN).bars[1]
    assert (bar.name, bar.total, bar.segments[0].width) == ("compiled step", "500.0 MiB", "50.000%")


def test_a_step_that_fits_ends_before_the_line():
    picture = memory_picture(PLAN)
    assert picture.verdict == "The step fits: 500.0 MiB of 1000.0 MiB a device, 50.0 %."
    assert picture.limit_x == "100.000%"
    assert picture.enlarged is None


def test_a_step_over_the_memory_reaches_beyond_the_line():
    plan = PLAN | {"fits": False, "device_memory_bytes": 250 * MIB, "not_compiled": "out of memory"}
    picture = memory_picture(plan)
    assert picture.verdict == "The step does not fit: out of memory"
    assert picture.limit_x == "50.000%"
    assert ("not compiled", ["out of memory"]) in picture.facts


def test_a_step_too_small_to_be_seen_is_enlarged():
    picture = memory_picture(PLAN | {"device_memory_bytes": 100_000 * MIB})
    assert picture.enlarged is not None
    assert sum(number(part.width) for part in picture.enlarged.segments) == pytest.approx(100, abs=0.01)


def test_a_plan_without_a_compiled_step_has_one_bar():
    assert [bar.name for bar in memory_picture(PLAN | {"compiled": None}).bars] == ["planned"]
