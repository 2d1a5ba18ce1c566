"""`mode=preflight` for TPUs that are not here: planned always, compiled where the TPU compiler is."""

import pytest

from tests.running import TOY, read_json, run
from tunix_exp.device import topology
from tunix_exp.evidence.verify import verify

TINY = (
    *(word for word in TOY if not word.startswith(("device", "model"))),
    "device=tpu-v5e-8", "model=tiny-gemma", "mode=preflight", "training.batch_size=8", "name=fit",
)  # fmt: skip


def test_without_the_compiler_the_plan_alone_is_made_and_the_run_completes(tmp_path, monkeypatch):
    monkeypatch.setattr(topology, "why_not_compiled", lambda: "no compiler: `uv sync --extra tpu`")
    assert run(tmp_path / "run", *TINY) == 0
    plan = read_json(tmp_path / "run" / "plan.json")
    assert plan["compiled"] is None
    assert "uv sync --extra tpu" in plan["not_compiled"]
    assert plan["fits"]
    assert plan["planned"]["optimizer_state_bytes"] > plan["planned"]["parameters_bytes"]
    # Eight chips share the tiny table: few tokens of each hide its traffic.
    assert plan["loss_chunk"]["words"] is None
    assert plan["loss_chunk"]["reason"] == "the traffic of the table is hidden at 241 FLOPs a byte"
    assert verify(tmp_path / "run") == []
    log = (tmp_path / "run" / "training_log.txt").read_text()
    assert "optimizer state" in log
    assert "not compiled: no compiler" in log


def test_weights_of_the_hub_are_planned_for_without_being_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(topology, "why_not_compiled", lambda: "no compiler")
    weights = "hub:nobody/nothing@0000000000000000000000000000000000000000"
    assert run(tmp_path / "run", *TINY, f"model.weights={weights}") == 0
    assert read_json(tmp_path / "run" / "run_manifest.json")["model"]["revision"] is None


def test_a_hopeless_step_is_refused_with_its_plan_before_anything_is_compiled(tmp_path, monkeypatch):
    monkeypatch.setattr(topology, "why_not_compiled", lambda: "no compiler")
    assert run(tmp_path / "run", *TINY, "device.memory_gib=0.0001") == 1
    error = read_json(tmp_path / "run" / "run_manifest.json")["error"]
    assert (error["stage"], error["where"]) == ("plan", "device.guardrail")
    assert "the compiler was not asked" in error["message"]
    assert "adapter=lora (an adapter alone is trained): " in error["remedy"]
    assert not read_json(tmp_path / "run" / "plan.json")["fits"]


def test_a_warning_lets_the_preflight_of_a_hopeless_step_complete(tmp_path, monkeypatch):
    monkeypatch.setattr(topology, "why_not_compiled", lambda: "no compiler")
    words = (*TINY, "device.memory_gib=0.0001", "device.guardrail=warn")
    assert run(tmp_path / "run", *words) == 0
    assert "warning: the step does not fit" in (tmp_path / "run" / "training_log.txt").read_text()


@pytest.mark.parametrize("guardrail", ["block", "off"])
def test_what_the_compiler_refuses_is_the_same_refusal_whatever_the_guardrail(
    tmp_path, monkeypatch, guardrail
):
    import jax

    import tunix_exp.stages.plan.step

    def refuse(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Used 19.2G of 15.75G hbm.")

    monkeypatch.setattr(tunix_exp.stages.plan.step, "compile_step", refuse)
    words = [word for word in TINY if not word.startswith(("device=", "mode="))]
    words += ["device=cpu", "device.compilation_cache=null", f"device.guardrail={guardrail}"]
    assert run(tmp_path / "run", *words) == 1
    error = read_json(tmp_path / "run" / "run_manifest.json")["error"]
    assert "the compiler says: RESOURCE_EXHAUSTED: Used 19.2G of 15.75G hbm." in error["message"]
    assert "adapter=lora (an adapter alone is trained): " in error["remedy"]


@pytest.mark.slow
def test_with_the_compiler_step_and_generation_are_compiled_for_the_topology(tmp_path):
    pytest.importorskip("libtpu", reason="the TPU compiler is an extra: uv sync --extra tpu")
    assert run(tmp_path / "run", *TINY) == 0
    plan = read_json(tmp_path / "run" / "plan.json")
    assert plan["compiled"]["peak_bytes"] > plan["planned"]["parameters_bytes"]
    assert plan["compiled_answer"]["peak_bytes"] > 0
    assert plan["not_compiled"] is None
    assert verify(tmp_path / "run") == []


def test_on_a_device_that_is_here_both_programs_are_compiled_too(tmp_path):
    words = [word for word in TINY if not word.startswith("device")]
    assert run(tmp_path / "run", *words, "device=cpu", "device.compilation_cache=null") == 0
    plan = read_json(tmp_path / "run" / "plan.json")
    assert plan["compiled"]["argument_bytes"] >= plan["planned"]["optimizer_state_bytes"]
    assert plan["compiled_answer"]["argument_bytes"] >= plan["planned"]["parameters_bytes"]
    assert plan["evaluation"]["items"] == 5
