"""`mode=eval` is planned, compiled and refused by what an evaluation takes, not by a training step."""

import shutil
from pathlib import Path

import jax
import pytest

import tunix_exp.stages.plan.common
import tunix_exp.stages.plan.step
import tunix_exp.stages.score
from tests.composing import composed
from tests.models.toys import toy_config
from tests.running import read_json, run_toy
from tunix_exp.device.config import DeviceConfig
from tunix_exp.device.plan import GIB
from tunix_exp.evaluation.footprint import Setting, footprint
from tunix_exp.evidence.verify import verify
from tunix_exp.models.adapter import NoAdapterConfig
from tunix_exp.models.loss_chunk import LossChunk
from tunix_exp.models.sharding import AXES
from tunix_exp.training.compiles import CompileCount

# Sizes at which a training step takes several times what an evaluation does.
WIDE = ("model.width=32", "model.mlp_width=1024", "training.batch_size=32")
PROGRAMS = ("compiled_answer", "compiled_losses")


def plan_of(folder: Path) -> dict:
    return read_json(folder / "plan.json")


def peak(plan: dict) -> int:
    return max(plan[name]["peak_bytes"] for name in PROGRAMS)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    assert run_toy(folder, *WIDE, "mode=eval") == 0
    return folder


def memory(size: float) -> str:
    return f"device.memory_gib={size / GIB:.9f}"


def test_the_plan_is_of_the_evaluation_and_no_step_is_compiled(tmp_path, monkeypatch):
    monkeypatch.setattr(tunix_exp.stages.plan.step, "compile_step", None)
    assert run_toy(tmp_path / "run", "mode=eval") == 0
    plan = plan_of(tmp_path / "run")
    assert plan["compiled"] is None
    assert plan["work"] is None
    assert "optimizer_state_bytes" not in plan["planned"]
    assert plan["planned"]["cache_bytes"] > 0
    assert all(plan[name]["argument_bytes"] >= plan["planned"]["parameters_bytes"] for name in PROGRAMS)
    assert verify(tmp_path / "run") == []
    log = (tmp_path / "run" / "training_log.txt").read_text()
    assert "plan: the evaluation fits: compiled " in log
    assert "attention kernel" not in log
    page = (tmp_path / "run" / "report.html").read_text()
    assert "The evaluation fits: " in page
    assert "keys and values of the answers" in page


def test_what_fits_for_evaluation_alone_is_evaluated_and_refused_for_training(evaluated, tmp_path):
    enough = memory(1.01 * peak(plan_of(evaluated)))
    assert run_toy(tmp_path / "evaluated", *WIDE, "mode=eval", enough) == 0
    assert verify(tmp_path / "evaluated") == []
    assert run_toy(tmp_path / "trained", *WIDE, enough) == 1
    error = read_json(tmp_path / "trained" / "run_manifest.json")["error"]
    assert "the step does not fit" in error["message"]


def test_an_evaluation_that_does_not_fit_is_refused_by_its_own_parts_and_remedies(evaluated, tmp_path):
    too_little = memory(0.9 * peak(plan_of(evaluated)))
    assert run_toy(tmp_path / "run", *WIDE, "mode=eval", too_little) == 1
    error = read_json(tmp_path / "run" / "run_manifest.json")["error"]
    assert (error["stage"], error["where"]) == ("plan", "device.guardrail")
    assert error["message"].startswith("the evaluation does not fit: compiled peak ")
    assert "keys and values" not in error["message"]
    assert "cache " in error["message"]
    assert "optimizer" not in error["message"] + error["remedy"]
    assert "eval.max_new_tokens=3 (shorter answers): " in error["remedy"]
    assert not plan_of(tmp_path / "run")["fits"]


def test_weights_that_alone_are_too_much_are_refused_before_the_compiler_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(tunix_exp.stages.plan.common, "begin", None)
    assert run_toy(tmp_path / "run", "mode=eval", "device.memory_gib=0.00001") == 1
    error = read_json(tmp_path / "run" / "run_manifest.json")["error"]
    assert "the evaluation does not fit: the plan alone is so far over" in error["message"]


def test_a_warning_lets_an_evaluation_go_on_that_does_not_fit(evaluated, tmp_path):
    too_little = memory(0.9 * peak(plan_of(evaluated)))
    words = (*WIDE, "mode=eval", too_little, "device.guardrail=warn")
    assert run_toy(tmp_path / "run", *words) == 0
    assert "warning: the evaluation does not fit" in (tmp_path / "run" / "training_log.txt").read_text()


def test_the_programs_of_the_plan_are_those_that_answer(tmp_path, monkeypatch):
    counts = []
    whole = tunix_exp.stages.score.evaluate

    def counted(*arguments, **named):
        compiles = CompileCount()
        try:
            return whole(*arguments, **named)
        finally:
            counts.append(compiles.count)
            compiles.close()

    monkeypatch.setattr(tunix_exp.stages.score, "evaluate", counted)
    # not compiled by another test: the width is this one's own
    assert run_toy(tmp_path / "run", "mode=eval", "eval.max_items=1", "model.mlp_width=28") == 0
    assert counts == [0]


def test_what_the_harness_will_ask_is_not_known_so_that_the_weights_alone_are_planned():
    device = DeviceConfig.model_validate(composed("device=cpu")["device"])
    mesh = jax.make_mesh((1, 1, 1), AXES, axis_types=(jax.sharding.AxisType.Auto,) * 3)
    setting = Setting(toy_config(), NoAdapterConfig(name="none"), device, mesh, None, LossChunk.of_cpu(31))
    parts = footprint(setting)
    assert parts.parameters == 4 * sum(leaf.size for leaf in jax.tree.leaves(setting.evaluated[1]))
    assert (parts.total, setting.compiled()) == (parts.parameters + parts.compute_weights, {})


@pytest.mark.parametrize("is_merged", [False, True], ids=["beside", "merged"])
def test_what_an_adapter_is_merged_out_of_is_held_beside_the_result(is_merged, tmp_path):
    lora = ("adapter=lora", "adapter.rank=2", "adapter.alpha=4")
    assert run_toy(tmp_path / "trained", *lora, "training.export=[peft]") == 0
    shutil.move(tmp_path / "trained" / "export" / "peft", tmp_path / "peft")
    words = (
        *lora,
        f"adapter.weights={tmp_path / 'peft'}",
        f"adapter.merge_for_eval={is_merged}",
        "mode=eval",
    )
    assert run_toy(tmp_path / "run", *words) == 0
    planned = plan_of(tmp_path / "run")["planned"]
    # GPT-2's attention: 16 × 48 and 16 × 16, each with two narrow matrices of rank 2, all in float32.
    assert planned["held_beside_bytes"] == (4 * (16 * 64 + 2 * (16 + 48 + 16 + 16)) if is_merged else 0)
    assert verify(tmp_path / "run") == []
