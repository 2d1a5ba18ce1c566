"""What is computed again in the backward pass, chosen from what the plan says each choice takes."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from flax import nnx

from tests.training.test_footprint import EIGHT, setting
from tunix_exp.device.check import Device
from tunix_exp.device.plan import GIB
from tunix_exp.device.topology import GENERATIONS
from tunix_exp.errors import UserError
from tunix_exp.evidence.strict_json import json_text
from tunix_exp.stages.plan.remat import REMATS, chosen_of, chosen_remat, with_remat
from tunix_exp.training.footprint import footprint
from tunix_exp.training.resume import Parent

PLANNED = {"none": 30 * GIB, "dots": 20 * GIB, "block": 8 * GIB}


TINY = (*EIGHT, "model=tiny-gemma", "model.remat=auto", "data.max_tokens=64")


def device(shapes, memory_gib, platform="tpu"):
    speed = GENERATIONS["v5e"]
    memory = int(memory_gib * GIB)
    return Device(platform, speed.device_kind, None, None, (), memory, shapes.mesh, 1, "", speed, None)


@pytest.mark.parametrize(
    ("memory_gib", "remat"),
    [(34, "dots"), (23, "dots"), (22, "block"), (1, "block")],
)
def test_products_are_kept_where_that_leaves_a_tenth_of_the_memory(memory_gib, remat):
    choice = chosen_of(PLANNED, memory_gib * GIB)
    assert choice.remat == remat
    assert choice.to_json()["planned_bytes"] == PLANNED
    assert f"{memory_gib}.00 GiB" in choice.reason


def test_auto_takes_the_plan_s_own_figures_and_the_step_is_that_of_its_choice():
    words = (*EIGHT, "model=gemma3-270m", "device.compute_dtype=bfloat16")
    auto = setting(*words, "model.remat=auto")
    sizes = {remat: footprint(setting(*words, f"model.remat={remat}")).parts.total for remat in REMATS}
    assert sizes["none"] > sizes["dots"] > sizes["block"]
    for remat in ("dots", "block"):
        size = sizes[remat]
        choice = chosen_remat(auto, device(auto, 1.12 * size / GIB))
        assert (choice.remat, choice.planned_bytes) == (remat, sizes)
        chosen = with_remat(auto, choice.remat)
        assert footprint(chosen).parts.total == size
        graphdef, (state, *_) = chosen.arguments
        assert nnx.merge(graphdef, state.params).remat == remat


def test_a_cpu_takes_the_same_whatever_its_memory_and_what_the_config_says_is_taken_everywhere():
    tiny = setting(*TINY)
    assert {chosen_remat(tiny, device(tiny, gib, "cpu")).remat for gib in (0.001, 1000)} == {"block"}
    for remat in REMATS:
        asked = with_remat(tiny, remat)
        choice = chosen_remat(asked, device(asked, 0.001))
        assert choice.describe() == f"remat: {remat} (model.remat={remat})"


def test_a_run_that_goes_on_takes_what_its_parent_chose(tmp_path):
    tiny = setting(*TINY)
    manifest: Any = SimpleNamespace(run_id="m1")
    parent = Parent(tmp_path, manifest, step=3, line=(tmp_path,))
    here = device(tiny, 1000)
    for recorded in REMATS:
        (tmp_path / "plan.json").write_text(json_text({"remat": {"chosen": recorded}}, file="plan.json"))
        assert chosen_remat(tiny, here, parent).remat == recorded
        assert chosen_remat(tiny, here, replace(parent, step=0)).remat == "dots"  # nothing was trained yet
    (tmp_path / "plan.json").write_text('{"remat": {"chosen": "all"}}')
    with pytest.raises(UserError, match=r"`remat` is 'all', which is none of none, dots, block"):
        chosen_remat(tiny, here, parent)
