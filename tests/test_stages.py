"""A run whose training sets come in turn, each for its steps: resumed in each, with one schedule or two."""

import json
from pathlib import Path

import pytest

from tests.resealing import reseal
from tests.running import bits, read_json, read_jsonl, run_toy
from tunix_exp import cli
from tunix_exp.evidence.verify import verify

STEPS = {"short": 3, "long": 6}
STAGED = (
    "data=mix",
    "eval=nano-eval",
    "training.steps=null",
    "training.epochs=1",
    "training.log_every_steps=1",
)
STAGED += ("data.max_rows=null", "optim.schedule=linear", "optim.final_lr_ratio=0.0", "optim.warmup_steps=0")
BUCKETS = ("training.batching=buckets", "training.bucket_widths=2", "data.max_tokens=48")
STAGED += ("eval.max_items=1",)


def stages(folder: Path, **steps: float) -> str:
    """The word of a config that names the files in the folder, each for so many steps."""
    parts = (f"{name}:{{source:'{folder}/{name}.jsonl',steps:{count}}}" for name, count in steps.items())
    return f"data.mix={{{','.join(parts)}}}"


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """A run of two stages, rows in buckets, and the files of its sets beside it."""
    folder = tmp_path_factory.mktemp("stages")
    for name, more in (("short", ""), ("long", "?" * 20)):
        rows = [{"question": f"{name} {n}{more[: n % 20]}", "answer": str(n)} for n in range(10)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run_toy(folder / "run", *STAGED, *BUCKETS, stages(folder, **STEPS)) == 0
    return folder


def test_each_set_has_its_steps_and_no_batch_has_rows_of_two(own):
    lines = read_jsonl(own / "run" / "metrics.jsonl")
    assert [line["rows/short"] for line in lines] == [4] * 3 + [0] * 6
    assert [line["rows/long"] for line in lines] == [0] * 3 + [4] * 6
    losses = [[key for key in line if key.startswith("loss/")] for line in lines]
    assert losses == [["loss/short"]] * 3 + [["loss/long"]] * 6
    card, manifest = read_json(own / "run" / "data_card.json"), read_json(own / "run" / "run_manifest.json")
    assert {name: one["steps"] for name, one in card["train"]["sets"].items()} == STEPS
    assert {name: one["steps"] for name, one in manifest["data"]["sets"].items()} == STEPS
    assert {name: one["stage"] for name, one in card["batches"]["sets"].items()} == {
        "short": [1, 3],
        "long": [4, 9],
    }
    log = (own / "run" / "training_log.txt").read_text()
    assert "batches: long: steps 4 to 9; its 10 are gone through in 2.5 steps" in log
    assert "in stages short (3 steps), long (6 steps), 20 rows" in (own / "run" / "README.md").read_text()


@pytest.mark.parametrize("step", [2, 3, 5])
def test_a_run_that_stops_in_a_stage_or_between_two_goes_on_to_the_same_bits(own, step, tmp_path):
    words = (*STAGED, *BUCKETS, stages(own, **STEPS), f"training.stop_at_step={step}")
    assert run_toy(tmp_path / "cut", *words) == 130
    assert cli.main(["finish", str(tmp_path / "cut")]) == 0
    (finished,) = [place for place in tmp_path.iterdir() if place.name != "cut"]
    found, expected = bits(finished), bits(own / "run")
    assert found.pop("metrics") == expected.pop("metrics")[step:]
    assert found == expected


def test_the_rate_goes_on_over_the_run_or_begins_anew_with_each_stage(own, tmp_path):
    rates = [row["lr"] for row in read_jsonl(own / "run" / "metrics.jsonl")]
    assert rates == sorted(rates, reverse=True)
    each = (*STAGED, "optim.schedule_per=stage", stages(own, **STEPS))
    assert run_toy(tmp_path / "run", *each) == 0
    rates = [row["lr"] for row in read_jsonl(tmp_path / "run" / "metrics.jsonl")]
    peak = read_json(tmp_path / "run" / "config.json")["optim"]["peak_lr"]
    due = [peak * (1 - done / steps) for steps in STEPS.values() for done in range(steps)]
    assert [f"{rate:.5e}" for rate in rates] == [f"{rate:.5e}" for rate in due]


def test_a_stage_of_epochs_has_the_steps_of_so_many_passes(own, tmp_path):
    epochs = stages(own, short=1.2, long=2.25).replace("steps:", "epochs:")
    assert run_toy(tmp_path / "run", *STAGED, *BUCKETS, epochs) == 0
    assert bits(tmp_path / "run") == bits(own / "run")
    file = tmp_path / "run" / "data_card.json"
    card, manifest = read_json(file), read_json(tmp_path / "run" / "run_manifest.json")
    assert {name: one["steps"] for name, one in manifest["data"]["sets"].items()} == STEPS
    assert {name: one["epochs"] for name, one in card["train"]["sets"].items()} == {
        "short": 1.2,
        "long": 2.25,
    }
    card["batches"]["sets"]["long"]["rows"] = 20
    file.write_text(json.dumps(card))
    reseal(tmp_path / "run")
    found = [one.what for one in verify(tmp_path / "run") if one.file == "data_card.json"]
    assert any("steps` is 6, but config.json (`data.mix.long.steps`) says 12" in one for one in found), found


def test_steps_that_are_not_those_of_the_config_are_found(own):
    file = own / "run" / "data_card.json"
    before = file.read_text()
    card = json.loads(before)
    card["train"]["sets"]["short"]["steps"] = 4
    try:
        file.write_text(json.dumps(card))
        reseal(own / "run")
        found = [one.what for one in verify(own / "run") if one.file == "data_card.json"]
    finally:
        file.write_text(before)
        reseal(own / "run")
    assert any("data.mix.short.source, steps" in one for one in found)
    assert verify(own / "run") == []
