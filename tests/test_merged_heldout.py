"""Held-out losses along the way and at the end are one computation, whichever way the adapter answers."""

import pytest

from tests.running import read_json, read_jsonl, run_toy
from tunix_exp.scoring.paired import ItemLoss, mean_loss

LORA = (
    "model=tiny-gemma",
    "adapter=lora",
    "adapter.rank=2",
    "optim.peak_lr=0.1",
    "eval.heldout_every_steps=2",
)


@pytest.mark.parametrize("words", [(), ("device.compute_dtype=bfloat16",)])
def test_a_merged_adapter_is_merged_for_every_held_out_loss(tmp_path, words):
    assert run_toy(tmp_path / "run", *LORA, "adapter.merge_for_eval=true", *words) == 0
    assert read_json(tmp_path / "run" / "run_manifest.json")["status"] == "completed"
    last = read_jsonl(tmp_path / "run" / "heldout.jsonl")[-1]
    rows = read_jsonl(tmp_path / "run" / "heldout" / "trained.jsonl")
    assert last["step"] == 4
    assert last["loss_nats"] == mean_loss([ItemLoss.from_dict(row, where="here") for row in rows])


def test_a_run_whose_data_is_called_success_is_interrupted_and_verifies(tmp_path, capsys):
    from tunix_exp import cli

    words = ("data.name=success", "training.stop_at_step=2")
    assert run_toy(tmp_path / "run", *words) == 130
    assert cli.main(["verify", str(tmp_path / "run")]) == 0
    assert "verified; its status is interrupted" in capsys.readouterr().out
