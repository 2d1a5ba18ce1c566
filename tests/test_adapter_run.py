"""A run that trains an adapter, from the command line to verified evidence."""

import json
from pathlib import Path

import pytest

from tests.running import TOY, bits, read_json, read_jsonl, run, run_toy
from tunix_exp.evidence.verify import verify

LORA = ("adapter=lora", "adapter.rank=2", "optim.peak_lr=0.1")


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "toy"
    assert run_toy(folder, *LORA) == 0
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
    line = "lora of rank 2, alpha 16, beside attn.c_attn, attn.c_proj: 192 parameters are trained"
    assert line in (toy / "README.md").read_text()
    assert line in (toy / "training_log.txt").read_text()


def test_its_base_is_the_model_that_full_training_begins_with(toy, tmp_path):
    assert run_toy(tmp_path / "full", "mode=eval") == 0
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
    assert run_toy(tmp_path / "rest", *LORA, f"training.resume={tmp_path / 'half'}") == 0
    whole, rest = bits(toy), bits(tmp_path / "rest")
    assert rest["metrics"] == whole["metrics"][2:]
    assert {k: rest[k] for k in ("weights", "base", "trained")} == {
        k: whole[k] for k in ("weights", "base", "trained")
    }
    assert verify(tmp_path / "rest") == []


def test_merged_for_evaluation_it_gives_the_same_answers(toy, tmp_path):
    assert run_toy(tmp_path / "run", *LORA, "adapter.merge_for_eval=true") == 0
    merged, unmerged = bits(tmp_path / "run"), bits(toy)
    for which in ("base", "trained", "weights", "metrics"):
        assert merged[which] == unmerged[which]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["tiny-gpt2", "tiny-gemma"])
def test_smoke_of_both_families_completes(tmp_path, model):
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
    assert "gpt2: all, attention, mlp, attn.c_attn, attn.c_proj" in capsys.readouterr().err


def test_an_interrupted_adapter_is_not_resumed_beside_other_weights(tmp_path):
    assert run_toy(tmp_path / "half", *LORA, "training.stop_at_step=2") == 130
    manifest = read_json(tmp_path / "half" / "run_manifest.json")
    manifest["model"]["base_weight_hash"] = "0" * 64
    (tmp_path / "half" / "run_manifest.json").write_text(json.dumps(manifest))
    assert run_toy(tmp_path / "rest", *LORA, f"training.resume={tmp_path / 'half'}") == 1
    error = read_json(tmp_path / "rest" / "run_manifest.json")["error"]
    assert "are not those of the run to resume" in error["message"]
