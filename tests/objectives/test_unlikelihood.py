"""A second objective, with a config, batch, loss, metrics and a file of its own, from its folder alone."""

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from tests.closeness import assert_close, model_roundings
from tests.objectives.registering import registered
from tests.objectives.unlikelihood.batch import BatchArrays
from tests.objectives.unlikelihood.config import ObjectiveConfig
from tests.objectives.unlikelihood.objective import objective
from tests.running import TOY, bits, read_json, read_jsonl, run
from tests.training.toy import ADAMW, MODEL, batch, toy
from tunix_exp import cli
from tunix_exp.models.adapter import NoAdapterConfig
from tunix_exp.training import optim
from tunix_exp.training.step import make_step, step_scalars

WORDS = (
    *TOY, "objective.name=unlikelihood", "+objective.avoid=repetition", "+objective.weight=0.5",
    "training.save_every_steps=2",
)  # fmt: skip
NONE = NoAdapterConfig(name="none")
OWN = ("avoided_tokens", "avoided_probability", "unlikelihood_weight")
STEP = model_roundings(MODEL, tokens=12, passes=4)


@pytest.fixture(scope="module", autouse=True)
def _registered():
    with registered("unlikelihood"):
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unlikelihood") / "run"
    assert run(folder, *WORDS) == 0
    return folder


def of_own(folder):
    return [{key: row[key] for key in OWN} for row in read_jsonl(folder / "metrics.jsonl")]


def test_its_metrics_and_its_file_are_in_the_run_directory(whole):
    manifest = read_json(whole / "run_manifest.json")
    assert manifest["status"] == "completed"
    assert {"avoided.jsonl"} <= manifest["files"].keys()
    rows = of_own(whole)
    assert any(row["avoided_tokens"] for row in rows)
    assert all(0 < row["avoided_probability"] < 1 for row in rows if row["avoided_tokens"])
    assert {row["unlikelihood_weight"] for row in rows} == {0.5}
    tokens = {line["id"]: line["tokens"] for line in read_jsonl(whole / "avoided.jsonl")}
    assert tokens
    assert all(count > 0 for count in tokens.values())


def test_a_resumed_run_has_the_bits_of_the_whole_one(whole, tmp_path):
    assert run(tmp_path / "a", *WORDS, "training.stop_at_step=2") == 130
    assert run(tmp_path / "b", *WORDS, f"training.resume={tmp_path / 'a'}") == 0
    found, expected = bits(tmp_path / "b"), bits(whole)
    assert found["metrics"] == expected["metrics"][2:]
    assert found["weights"] == expected["weights"]
    assert of_own(tmp_path / "b") == of_own(whole)[2:]


def test_it_is_verified_and_repeated_from_its_evidence(whole, tmp_path):
    assert cli.main(["verify", str(whole)]) == 0
    assert cli.main(["replay", str(whole), "--to", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "avoided.jsonl").read_text() == (whole / "avoided.jsonl").read_text()
    compared = {series["name"] for series in read_json(tmp_path / "again" / "replay.json")["series"]}
    assert "loss" in compared


def test_a_changed_line_of_its_file_is_found(whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "run")
    lines = read_jsonl(tmp_path / "run" / "avoided.jsonl")
    lines[0]["tokens"] += 1
    (tmp_path / "run" / "avoided.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert cli.main(["verify", str(tmp_path / "run")]) == 1
    assert "avoided.jsonl" in "".join(capsys.readouterr())


def marked():
    """A toy batch of eight rows, of which two are avoided."""
    tokens_BT, segment_ids_BT, response_BT = batch(3, rows=8)
    avoided_BT = response_BT & np.isin(np.arange(8), [2, 5])[:, None]
    return BatchArrays(tokens_BT, segment_ids_BT, response_BT & ~avoided_BT, avoided_BT)


def once(parts=1, weight=0.5):
    rule = ADAMW.model_copy(update={"accumulation_steps": parts})
    made = objective(ObjectiveConfig(name="unlikelihood", avoid="x", weight=weight))
    graphdef, state = toy(rule)
    scalars = step_scalars(rule, NONE, made.scalars, total_steps=10, seed=0)
    return make_step(graphdef, optim.structure(rule), made.loss)(state, marked(), scalars)


@pytest.mark.parametrize("parts", [2, 4])
def test_every_split_of_a_batch_gives_the_same_update_and_the_same_metrics(parts):
    (whole, of_whole), (split, of_split) = once(), once(parts)
    assert_close((of_split.loss, of_split.own), (of_whole.loss, of_whole.own), roundings=STEP)
    assert_close(split.opt_state, whole.opt_state, roundings=STEP)
    assert of_whole.own["avoided_tokens"] == np.sum(marked().avoided_BT)


def test_avoided_tokens_become_less_likely():
    made = objective(ObjectiveConfig(name="unlikelihood", avoid="x", weight=50.0))
    graphdef, state = toy(ADAMW)
    step = make_step(graphdef, optim.structure(ADAMW), made.loss)
    scalars = step_scalars(ADAMW, NONE, made.scalars, total_steps=10, seed=0)
    seen = []
    for _ in range(8):
        state, metrics = step(state, marked(), scalars)
        seen.append(float(metrics.own["avoided_probability"]))
    assert seen[-1] < 0.7 * seen[0]


def test_its_weight_is_an_input_of_the_program():
    made = [objective(ObjectiveConfig(name="unlikelihood", avoid="x", weight=w)) for w in (0.1, 0.9)]
    assert made[0].loss == made[1].loss
    assert (
        jnp.float32(0.9)
        == step_scalars(ADAMW, NONE, made[1].scalars, total_steps=1, seed=0)["objective.weight"]
    )
