"""Runs of earlier versions: a pack of schema 1, made by 0.1.0 before these keys came, verifies and replays.

`run-of-schema-1.tar.gz` is the run of a tiny GPT-2, on one kind of machine, whose report carries an empty
drawing library (it would be two thirds of the file).
"""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.closeness import assert_close, model_roundings
from tests.composing import composed
from tests.running import bits, read_json, read_jsonl
from tunix_exp import cli
from tunix_exp.config import leaves, validate, value_at
from tunix_exp.errors import UserError
from tunix_exp.exits import COMPLETED, DIFFERS
from tunix_exp.replay.history import ADDED, REMOVED, in_todays_keys

PACK = Path(__file__).parents[1] / "fixtures" / "run-of-schema-1.tar.gz"
STEPS = 4
NUMBERS = ("loss", "grad_norm", "lr")
BITS = ("weights", "metrics", "base", "trained")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    shutil.unpack_archive(PACK, folder, filter="data")
    (top,) = folder.iterdir()
    return top


@pytest.fixture(scope="module")
def replayed(tmp_path_factory) -> tuple[int, Path]:
    folder = tmp_path_factory.mktemp("replay") / "again"
    # in a process of its own: this one has other devices than the run had
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "-m", "tunix_exp", "replay", str(PACK), "--to", str(folder)]
    return subprocess.run(command, cwd=folder.parent, env=environment).returncode, folder


def test_a_run_of_an_earlier_version_verifies_packed_and_unpacked(unpacked, capsys):
    for run in (PACK, unpacked, unpacked / "run"):
        assert cli.main(["verify", str(run)]) == 0
        said = capsys.readouterr().out
        assert f"{run}: verified" in said
        assert "extractor v1 scored the answers; v2 of this version scores 0 of 6 otherwise" in said


def test_a_number_altered_in_a_run_of_an_earlier_version_is_found(unpacked, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(unpacked / "run", run)
    rows = read_jsonl(run / "predictions" / "base.jsonl")
    rows[0]["output"] = "Answer: 1"
    (run / "predictions" / "base.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert cli.main(["verify", str(run)]) != 0
    assert "predictions/base.jsonl" in capsys.readouterr().out


def test_a_run_of_an_earlier_version_replays_its_config_and_its_inputs(replayed, unpacked):
    status, again = replayed
    assert status in (COMPLETED, DIFFERS)
    before, after = (read_json(run / "config.json") for run in (unpacked / "run", again))
    assert read_json(again / "replay.json")["config_changed"] == {}
    assert dict(leaves(after)) == dict(leaves(in_todays_keys(before, where="")))
    there, here = (read_json(run / "run_manifest.json") for run in (unpacked / "run", again))
    assert here["data"] == there["data"]
    assert here["eval"]["sha256"] == there["eval"]["sha256"]
    assert here["model"]["base_weight_hash"] == there["model"]["base_weight_hash"]
    rows = [read_jsonl(run / "metrics.jsonl") for run in (unpacked / "run", again)]
    exact = [[{key: row[key] for key in ("step", "tokens")} for row in part] for part in rows]
    assert exact[0] == exact[1]
    roundings = model_roundings(validate(after).model, 64, passes=3 * STEPS)
    for key in NUMBERS:
        assert_close(*[[row[key] for row in part] for part in (rows[1], rows[0])], roundings=roundings)
    losses = [read_jsonl(run / "heldout" / "trained.jsonl") for run in (again, unpacked / "run")]
    assert_close(*[[row["nats"] for row in part] for part in losses], roundings=roundings)


def test_on_the_machine_that_made_it_a_run_of_an_earlier_version_has_the_same_bits(replayed, unpacked):
    status, again = replayed
    comparison = read_json(again / "replay.json")
    assert status == (COMPLETED if comparison["is_identical"] else DIFFERS)
    differs = [one["name"] for one in comparison["surroundings"]]
    if all(name.startswith("code.") for name in differs):
        assert comparison["is_identical"]
        was, now = (in_keys_of_then(bits(run)) for run in (unpacked / "run", again))
        assert {key: now[key] for key in BITS} == {key: was[key] for key in BITS}


def in_keys_of_then(found: dict[str, Any]) -> dict[str, Any]:
    """The lines of predictions without what later versions add to them."""
    later = {"question", "classification"}
    for which in ("base", "trained"):
        rows = [json.loads(line) for line in found[which].splitlines()]
        found[which] = [{key: row[key] for key in row if key not in later} for row in rows]
    return found


def test_what_a_run_recorded_of_a_later_key_is_kept():
    now = composed("model=tiny-gpt2", "device=cpu", "eval.stop=[Q:]")
    assert in_todays_keys(now, where="") == now


def test_the_history_gives_keys_that_a_config_has_and_takes_those_that_none_has():
    now = composed("model=tiny-gemma", "device=cpu")
    keys = dict(leaves(now))
    assert not keys.keys() & {one.key for one in REMOVED}
    old = json.loads(json.dumps(now))
    for key in (one.key for one in ADDED):
        *path, leaf = key.split(".")
        del functools.reduce(dict.__getitem__, path, old)[leaf]
    for one in REMOVED:
        group, _, leaf = one.key.rpartition(".")
        old[group][leaf] = one.value
    config = validate(in_todays_keys(old, where=""))
    assert value_at(config, "optim.rounding") == "nearest"
    assert value_at(config, "eval.stop") == ()
    with pytest.raises(UserError, match=r"is not a key"):
        validate(old)  # what a user types is not read so


def test_a_removed_key_with_another_value_than_its_only_one_is_refused():
    old = composed("model=tiny-gpt2", "device=cpu")
    old["eval"]["num_beams"] = 4
    with pytest.raises(UserError, match=r"`eval.num_beams` is 4, and the versions .* computed 1 alone"):
        in_todays_keys(old, where="config.json")
