"""What can be refused is refused before a step is compiled, a weight loaded or a model evaluated."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tunix_exp.stages.device
import tunix_exp.stages.plan.common
import tunix_exp.stages.plan.step
import tunix_exp.stages.score
from tests.running import read_json, run_toy
from tunix_exp.stages.plan import attention

LORA = ("adapter=lora", "adapter.rank=2", "adapter.alpha=4")
EXPORT = "training.export=[hf,peft]"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run with an adapter, whose export is a folder of weights and one of an adapter."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert run_toy(folder, *LORA, EXPORT) == 0
    return folder


@pytest.fixture
def copies(trained, tmp_path) -> Path:
    """Copies of both to be damaged: `hf` and `peft`."""
    shutil.copytree(trained / "export", tmp_path / "export")
    return tmp_path / "export"


COSTLY = (
    (tunix_exp.stages.plan.step, "compile_step"),
    (tunix_exp.stages.plan.common, "begin"),
    (tunix_exp.stages.score, "evaluate"),
)


def forbid(monkeypatch, *names: tuple[object, str]) -> None:
    def costly(*_, **__):
        raise AssertionError("refused too late")

    for place in names:
        monkeypatch.setattr(*place, costly)


@pytest.fixture
def nothing_costly(monkeypatch):
    """No step is compiled, no weight is loaded and nothing is evaluated."""
    forbid(monkeypatch, *COSTLY)


def refused(folder: Path, *words: str) -> str:
    assert run_toy(folder, *words) == 1
    error = read_json(folder / "run_manifest.json")["error"]
    assert error["type"] == "UserError", error
    return " | ".join(str(error[key]) for key in ("stage", "message", "where", "remedy"))


def change_config(file: Path, **keys: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


def change_tensors(file: Path, change) -> None:
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def rename(tensors, old, new):
    tensors[new] = tensors.pop(old)


A = "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight"
BIAS = "h.0.mlp.c_fc.bias"
MISFITS = {
    "no weights": (lambda f: (f / "hf/model.safetensors").unlink(), "neither model.safetensors nor"),
    "no config": (lambda f: (f / "hf/config.json").unlink(), "no config.json in"),
    "another size": (lambda f: change_config(f / "hf/config.json", n_layer=3), "type model.num_layers=3"),
    "a tensor too few": (
        lambda f: change_tensors(f / "hf/model.safetensors", lambda t: t.pop(f"transformer.{BIAS}")),
        f"{BIAS} is missing",
    ),
    "a tensor too many": (
        lambda f: change_tensors(
            f / "hf/model.safetensors", lambda t: t.update({"h.0.odd": np.zeros(3, np.float32)})
        ),
        "h.0.odd is not used by the model",
    ),
    "a tensor of another shape": (
        lambda f: change_tensors(
            f / "hf/model.safetensors", lambda t: t.update({f"transformer.{BIAS}": np.zeros(31, np.float32)})
        ),
        f"{BIAS} has shape [31]",
    ),
    "an output that is not tied": (
        lambda f: change_tensors(
            f / "hf/model.safetensors",
            lambda t: t.update({"lm_head.weight": t["transformer.wte.weight"] + np.float32(1)}),
        ),
        "lm_head.weight differs from wte.weight",
    ),
    "no adapter": (lambda f: (f / "peft/adapter_model.safetensors").unlink(), "no adapter_model.safetensors"),
    "no adapter config": (lambda f: (f / "peft/adapter_config.json").unlink(), "no adapter_config.json"),
    "an adapter of another rank": (
        lambda f: change_config(f / "peft/adapter_config.json", r=8),
        "type adapter.rank=8",
    ),
    "an adapter of other layers": (
        lambda f: change_tensors(
            f / "peft/adapter_model.safetensors", lambda t: rename(t, A, A.replace("attn.c_attn", "mlp.c_fc"))
        ),
        "target_modules and the stored tensors do not agree",
    ),
    "an adapter of another shape": (
        lambda f: change_tensors(
            f / "peft/adapter_model.safetensors", lambda t: t.update({A: np.zeros((3, 16), np.float32)})
        ),
        "attn.c_attn.lora_A.weight' has rank 3, by r and rank_pattern 2",
    ),
}


@pytest.mark.parametrize("mode", ["full", "eval"])
@pytest.mark.parametrize("case", MISFITS)
def test_weights_and_adapters_are_judged_by_their_headers_first(case, mode, copies, tmp_path, nothing_costly):
    damage, text = MISFITS[case]
    damage(copies)
    words = (f"model.weights={copies / 'hf'}", f"adapter.weights={copies / 'peft'}", f"mode={mode}")
    said = refused(tmp_path / "run", *LORA, *words)
    assert said.startswith("weights | ")
    assert text in said


@pytest.mark.parametrize("key", ["model.weights", "adapter.weights"])
def test_a_mistyped_folder_is_refused_first(key, tmp_path, nothing_costly):
    said = refused(tmp_path / "run", *LORA, f"{key}=./nowhere")
    assert said.startswith("weights | no folder nowhere")
    assert key in said


def test_bundled_weights_are_refused_first(tmp_path, nothing_costly):
    assert "no weights are bundled" in refused(tmp_path / "run", "model.weights=bundled:nano")


def test_an_answer_that_leaves_no_room_for_the_prompt_is_refused_first(tmp_path, nothing_costly):
    said = refused(tmp_path / "run", "eval.max_new_tokens=60")
    assert said.startswith("data | prompt 0 has ")
    assert "the model has 64 positions" in said
    assert "lower eval.max_new_tokens" in said


def test_a_kernel_that_computes_something_else_here_is_refused_first(tmp_path, nothing_costly, monkeypatch):
    choose = attention.choose
    monkeypatch.setattr(
        attention,
        "choose",
        lambda *a, **named: replace(choose(*a, **named), kernel="cudnn"),
    )
    monkeypatch.setattr(attention, "difference", lambda *a, **named: 0.5)
    said = refused(tmp_path / "run")
    assert said.startswith("plan | cudnn attention differs from einsum by 0.5 of the largest value")


# ── training.resume ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    """A run that was stopped after two of its four steps."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    assert run_toy(folder, "training.stop_at_step=2") == 130
    return folder


def test_a_run_to_resume_that_is_not_there_is_refused_before_anything(tmp_path, nothing_costly, monkeypatch):
    forbid(monkeypatch, (tunix_exp.stages.device, "check"))
    said = refused(tmp_path / "run", "training.resume=x")
    assert said == (
        "resume | there is no directory x | training.resume | "
        "give never, auto, or the directory of a run (with run_manifest.json in it)"
    )


def test_another_config_than_that_of_the_run_to_resume_is_refused_first(stopped, tmp_path, nothing_costly):
    said = refused(tmp_path / "run", f"training.resume={stopped}", "optim.peak_lr=0.5")
    assert said.startswith("resume | the config differs from that of the run to resume:\n  optim.peak_lr: ")


def test_a_checkpoint_that_is_damaged_is_refused_first(stopped, tmp_path, nothing_costly):
    shutil.copytree(stopped, tmp_path / "damaged")
    (tmp_path / "damaged" / "checkpoints" / "2" / "default" / "_METADATA").unlink()
    said = refused(tmp_path / "run", f"training.resume={tmp_path / 'damaged'}")
    assert said.startswith("plan | the checkpoint at step 2 cannot be read: ")
    assert "move its folder away to go on from the one before it" in said


def test_data_that_changed_since_is_refused_first(tmp_path, monkeypatch):
    rows = [{"id": f"r{i}", "question": f"Add {i} and 1", "answer": str(i + 1)} for i in range(20)]
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = [f"data.fields.{name}=null" for name in ("reasoning", "category", "difficulty")]
    words = (f"data.source={file}", *fields)
    assert run_toy(tmp_path / "half", *words, "training.stop_at_step=2") == 130
    forbid(monkeypatch, *COSTLY)
    file.write_text(file.read_text().replace("Add 3", "Sum 3"))
    said = refused(tmp_path / "run", *words, f"training.resume={tmp_path / 'half'}")
    assert said.startswith("data | the training examples are not those of the run to resume: data.sha256 is ")


def test_weights_that_changed_since_are_refused_before_the_base_model_is_evaluated(
    trained, tmp_path, monkeypatch
):
    shutil.copytree(trained / "export" / "hf", tmp_path / "hf")
    words = (f"model.weights={tmp_path / 'hf'}", "training.stop_at_step=2")
    assert run_toy(tmp_path / "half", *words) == 130
    other = {"transformer.ln_f.bias": np.ones(16, np.float32)}
    change_tensors(tmp_path / "hf" / "model.safetensors", lambda tensors: tensors.update(other))
    forbid(monkeypatch, (tunix_exp.stages.score, "evaluate"))
    said = refused(
        tmp_path / "run", f"model.weights={tmp_path / 'hf'}", f"training.resume={tmp_path / 'half'}"
    )
    assert said.startswith("weights | the weights before training are not those of the run to resume: ")
