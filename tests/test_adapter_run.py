"""A run that trains an adapter and exports it, from the command line to verified evidence."""

import json
import shutil
from pathlib import Path

import pytest

from tests.running import TOY, bits, read_json, read_jsonl, run, run_toy
from tunix_exp.evidence.verify import verify
from tunix_exp.report.result import sentences

WEIGHTS = ("model.init_std=0.2",)
LORA = (*WEIGHTS, "adapter=lora", "adapter.rank=2", "optim.peak_lr=0.1")
TENSORS = "export/peft/adapter_model.safetensors"


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "toy"
    assert run_toy(folder, *LORA, "training.export=[hf,peft]") == 0
    return folder


def test_it_ends_completed_and_the_frozen_weights_are_those_it_began_with(toy):
    manifest = read_json(toy / "run_manifest.json")
    assert manifest["status"] == "completed"
    assert verify(toy) == []
    adapter = manifest["adapter"]
    assert (adapter["rank"], adapter["targets"]) == (2, ["attn.c_attn", "attn.c_proj"])
    assert adapter["parameter_count"] == 2 * (16 + 48 + 16 + 16)
    assert adapter["frozen_dtype"] == "float32"
    assert adapter["frozen_weight_hash_after"] == manifest["model"]["base_weight_hash"]
    losses = [row["loss"] for row in read_jsonl(toy / "metrics.jsonl")]
    assert losses[-1] < losses[0]
    line = "LoRA rank 2, alpha 16, lora scaling, on attn.c_attn, attn.c_proj: 192 trainable parameters"
    assert line in (toy / "README.md").read_text()
    assert line in (toy / "training_log.txt").read_text()


def test_its_base_is_the_model_that_full_training_begins_with(toy, tmp_path):
    assert run_toy(tmp_path / "full", *WEIGHTS, "mode=eval") == 0
    assert (tmp_path / "full" / "predictions" / "base.jsonl").read_text() == bits(toy)["base"]
    full, ours = (read_json(folder / "run_manifest.json")["model"] for folder in (tmp_path / "full", toy))
    assert full["base_weight_hash"] == ours["base_weight_hash"]
    assert full["parameter_count"] == ours["parameter_count"]


def test_a_checkpoint_holds_the_adapter_alone(toy):
    tree = read_json(toy / "checkpoints" / "4" / "default" / "_METADATA")["tree_metadata"]
    params = [name for name in tree if "params." in name]
    moments = [name for name in tree if ".mu." in name or ".nu." in name]
    assert len(params) == 2 * 2
    assert len(moments) == 2 * len(params)
    assert all(".lora." in name for name in params + moments)


def test_stopped_and_resumed_it_ends_as_one_never_stopped(toy, tmp_path):
    assert run_toy(tmp_path / "half", *LORA, "training.stop_at_step=2") == 130
    words = (f"training.resume={tmp_path / 'half'}", "training.export=[peft]")
    assert run_toy(tmp_path / "rest", *LORA, *words) == 0
    assert (tmp_path / "rest" / TENSORS).read_bytes() == (toy / TENSORS).read_bytes()
    whole, rest = bits(toy), bits(tmp_path / "rest")
    assert rest["metrics"] == whole["metrics"][2:]
    assert {k: rest[k] for k in ("weights", "base", "trained")} == {
        k: whole[k] for k in ("weights", "base", "trained")
    }
    assert verify(tmp_path / "rest") == []


def test_beside_a_quantized_base_it_ends_so_too_and_leaves_the_codes_as_they_were(toy, tmp_path):
    quantized = (*LORA, "model.quantize=nf4", "training.export=[peft]")
    assert run_toy(tmp_path / "whole", *quantized) == 0
    manifest = read_json(tmp_path / "whole" / "run_manifest.json")
    assert manifest["adapter"]["frozen_weight_hash_after"] == manifest["model"]["base_weight_hash"]
    plain = read_json(toy / "run_manifest.json")["model"]
    assert manifest["model"]["base_weight_hash"] != plain["base_weight_hash"]
    assert manifest["model"]["parameter_count"] == plain["parameter_count"]
    assert manifest["adapter"]["frozen_dtype"] == "nf4"
    assert run_toy(tmp_path / "half", *quantized, "training.stop_at_step=2") == 130
    assert run_toy(tmp_path / "rest", *quantized, f"training.resume={tmp_path / 'half'}") == 0
    assert (tmp_path / "rest" / TENSORS).read_bytes() == (tmp_path / "whole" / TENSORS).read_bytes()
    assert verify(tmp_path / "whole") == verify(tmp_path / "rest") == []


def test_merged_for_evaluation_it_gives_the_same_answers(toy, tmp_path):
    assert run_toy(tmp_path / "run", *LORA, "adapter.merge_for_eval=true") == 0
    merged, unmerged = bits(tmp_path / "run"), bits(toy)
    for which in ("base", "trained", "weights", "metrics"):
        assert merged[which] == unmerged[which]


def test_it_leaves_both_exports_with_their_cards(toy):
    found = {file.relative_to(toy / "export").as_posix() for file in (toy / "export").rglob("*.*")}
    ours = ("README.md", "config.json", "generation_config.json", "model.safetensors")
    assert found == {
        *(f"hf/{name}" for name in (*ours, "tokenizer.json", "tokenizer_config.json")),
        *(f"peft/{name}" for name in ("README.md", "adapter_config.json", "adapter_model.safetensors")),
    }
    assert {f"export/{name}" for name in found} <= read_json(toy / "run_manifest.json")["files"].keys()
    result = sentences(read_json(toy / "eval_summary.json"))[0]
    assert all(result in (toy / "export" / form / "README.md").read_text() for form in ("hf", "peft"))
    # the base lies nowhere: it was drawn
    assert read_json(toy / "export" / "peft" / "adapter_config.json")["base_model_name_or_path"] is None
    assert "export: export/hf, 0.0 MB" in (toy / "training_log.txt").read_text()


def test_the_merged_model_answers_as_the_trained_one_did_and_leaves_as_it_came(toy, tmp_path):
    hf = toy / "export" / "hf"
    words = (f"model.weights={hf}", f"model.tokenizer={hf}", "mode=eval", "training.export=[hf]")
    assert run_toy(tmp_path / "run", *words) == 0
    assert answers(tmp_path / "run", "base") == answers(toy, "trained")
    for name in ("model.safetensors", "config.json", "generation_config.json", "tokenizer.json"):
        assert (tmp_path / "run" / "export" / "hf" / name).read_bytes() == (hf / name).read_bytes()


def test_an_answer_ends_where_the_model_s_files_say_so(toy, tmp_path):
    hf = shutil.copytree(toy / "export" / "hf", tmp_path / "hf")
    said = read_json(hf / "generation_config.json")
    outputs = [line["output"] for line in read_jsonl(toy / "predictions" / "trained.jsonl")]
    first = next(output for output in outputs if output and output[0].isascii())[0]
    said["eos_token_id"] = [said["eos_token_id"], ord(first)]
    (hf / "generation_config.json").write_text(json.dumps(said))
    words = (f"model.weights={hf}", f"model.tokenizer={hf}", "mode=eval")
    assert run_toy(tmp_path / "run", *words) == 0
    ended = [line["output"] for line in read_jsonl(tmp_path / "run" / "predictions" / "base.jsonl")]
    assert ended == [output.split(first)[0] for output in outputs]
    log = (tmp_path / "run" / "training_log.txt").read_text()
    assert f"end-of-sequence tokens, with the model files' own: {said['eos_token_id']}" in log


def test_the_adapter_beside_its_base_answers_as_the_trained_one_did_and_leaves_as_it_came(toy, tmp_path):
    words = (*LORA, f"adapter.weights={toy / 'export' / 'peft'}", "mode=eval", "training.export=[peft]")
    assert run_toy(tmp_path / "run", *words) == 0
    assert answers(tmp_path / "run", "base") == answers(toy, "trained")
    assert answers(tmp_path / "run", "base") != answers(toy, "base")
    assert (tmp_path / "run" / TENSORS).read_bytes() == (toy / TENSORS).read_bytes()
    read = read_json(tmp_path / "run" / "run_manifest.json")["adapter"]["files"]
    assert read["adapter_model.safetensors"] == read_json(toy / "run_manifest.json")["files"][TENSORS]


def answers(run: Path, which: str) -> str:
    return (run / "predictions" / f"{which}.jsonl").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["tiny-gpt2", "tiny-gemma"])
def test_a_smoke_run_of_each_family_completes(tmp_path, model):
    toy = [word for word in TOY if not word.startswith(("model", "training", "optim", "eval.max_"))]
    words = (
        *toy,
        f"model={model}",
        "mode=smoke",
        "adapter=lora",
        "adapter.targets=[all]",
        "adapter.dropout=0.1",
    )
    assert run(tmp_path / "run", *words) == 0
    assert verify(tmp_path / "run") == []
    assert len(read_json(tmp_path / "run" / "run_manifest.json")["adapter"]["targets"]) in (4, 7)


def test_a_target_that_the_family_lacks_is_refused_with_those_it_has(tmp_path, capsys):
    assert run_toy(tmp_path / "run", *LORA, "adapter.targets=[q_proj]") == 2
    assert "gpt2: all, all-linear, attention, mlp, attn.c_attn, attn.c_proj" in capsys.readouterr().err


def test_an_interrupted_adapter_is_not_resumed_beside_other_weights(tmp_path):
    assert run_toy(tmp_path / "half", *LORA, "training.stop_at_step=2") == 130
    manifest = read_json(tmp_path / "half" / "run_manifest.json")
    manifest["model"]["base_weight_hash"] = "0" * 64
    (tmp_path / "half" / "run_manifest.json").write_text(json.dumps(manifest))
    assert run_toy(tmp_path / "rest", *LORA, f"training.resume={tmp_path / 'half'}") == 1
    error = read_json(tmp_path / "rest" / "run_manifest.json")["error"]
    assert "are not those of the run to resume" in error["message"]
