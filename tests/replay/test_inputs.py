"""Inputs of a replay: pinned where they are the Hub's, the same bytes where they lie here."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.composing import composed
from tests.resealing import reseal
from tests.running import read_json, run_toy
from tunix_exp import cli
from tunix_exp.errors import UserError
from tunix_exp.evidence.layout import file_digest
from tunix_exp.evidence.manifest import parse_manifest
from tunix_exp.evidence.verified import VerifiedRun
from tunix_exp.replay import inputs
from tunix_exp.replay.inputs import refuse_other_inputs, replayed_config

FIELDS = ("data.fields.category=null", "data.fields.difficulty=null")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def lines(count: int = 12) -> str:
    rows = [
        {"id": f"r{i}", "question": f"Add {i} and 1", "steps": [f"{i}+1"], "answer": str(i + 1)}
        for i in range(count)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """A run on a file of the user's own, `train.jsonl` beside it."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "train.jsonl").write_text(lines())
    words = (f"data.source={folder / 'train.jsonl'}", *FIELDS, "data.fields.id=null")
    assert run_toy(folder / "run", *words) == 0
    return folder


def replayed(own: Path, *words: str) -> int:
    return cli.main(["replay", str(own / "run"), "--steps", "1", *words])


def test_a_data_file_that_is_gone_is_told_with_the_hash_of_what_was_read(own, tmp_path, capsys):
    digest = file_digest(own / "train.jsonl")
    kept = (own / "train.jsonl").rename(tmp_path / "train.jsonl")
    try:
        assert replayed(own, "--to", str(tmp_path / "again")) == 2
        told = capsys.readouterr().err
        assert "train.jsonl` is not here: its sha256 is now absent" in told
        assert f"the run read {digest}" in told
        assert "data.source=PATH" in told
        # it may lie elsewhere, as long as it is the same file
        assert replayed(own, "--to", str(tmp_path / "again"), f"data.source={kept}") == 0
        assert read_json(tmp_path / "again" / "replay.json")["config_changed"]["data.source"][1] == str(kept)
    finally:
        kept.rename(own / "train.jsonl")


def test_a_data_file_that_has_changed_is_told_with_both_hashes(own, tmp_path, capsys):
    then = file_digest(own / "train.jsonl")
    (tmp_path / "train.jsonl").write_text(lines(13))
    now = file_digest(tmp_path / "train.jsonl")
    assert replayed(own, f"data.source={tmp_path / 'train.jsonl'}") == 2
    told = capsys.readouterr().err
    assert f"train.jsonl` has changed: its sha256 is now {now}, and the run read {then}" in told


def test_rows_that_go_by_the_file_s_name_need_that_name(own, tmp_path, capsys):
    (tmp_path / "other.jsonl").write_text(lines())
    assert replayed(own, f"data.source={tmp_path / 'other.jsonl'}") == 2
    assert "call it train.jsonl" in capsys.readouterr().err


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> VerifiedRun:
    """As if a run had read model, tokenizer and rows from branches of the Hub."""
    folder = tmp_path_factory.mktemp("hub") / "run"
    assert run_toy(folder, "mode=smoke") == 0
    config = composed("model=gpt2", "data=gsm8k")
    config["model"]["weights"] = config["model"]["tokenizer"] = "hub:openai-community/gpt2@main"
    config["data"]["source"] = "hub:openai/gsm8k@main#main/train"
    card = read_json(folder / "data_card.json")
    card["tokenizer"]["revision"] = card["train"]["revision"] = COMMIT
    (folder / "data_card.json").write_text(json.dumps(card))
    reseal(folder, lambda says: says["model"].update(revision=COMMIT))
    manifest = parse_manifest((folder / "run_manifest.json").read_text())
    return VerifiedRun(folder, manifest, config)


def test_references_to_the_hub_are_pinned_to_the_commits_that_the_run_read(original):
    before = copy.deepcopy(original.config)
    plain = replayed_config(original.config, original, steps=3, places={})
    assert plain["model"]["weights"] == plain["model"]["tokenizer"] == f"hub:openai-community/gpt2@{COMMIT}"
    assert plain["data"]["source"] == f"hub:openai/gsm8k@{COMMIT}#main/train"
    assert plain["training"] | {"resume": "never", "stop_at_step": 3} == plain["training"]
    assert plain["eval"] == original.config["eval"]
    assert original.config == before


def test_what_a_plan_chose_to_compute_again_is_not_chosen_anew(original):
    plan = read_json(original.root / "plan.json")
    config = copy.deepcopy(original.config)
    config["model"]["remat"] = "auto"
    auto = VerifiedRun(original.root, original.manifest, config)
    assert replayed_config(config, auto, steps=None, places={})["model"]["remat"] == "none"
    for recorded, due in (({"chosen": "dots"}, "dots"), (None, "auto")):  # an evaluation has chosen nothing
        (original.root / "plan.json").write_text(json.dumps(plan | {"remat": recorded}))
        assert replayed_config(config, auto, steps=None, places={})["model"]["remat"] == due
        said = replayed_config(original.config, original, steps=None, places={})
        assert said["model"]["remat"] == "none"
    (original.root / "plan.json").write_text(json.dumps(plan))


def test_weights_that_are_not_those_that_were_read_are_told_with_both_hashes(original, tmp_path):
    digest = "e" * 64
    model = original.manifest.model.model_copy(update={"files": {"model.safetensors": digest}})
    changed = VerifiedRun(
        original.root, original.manifest.model_copy(update={"model": model}), original.config
    )
    plain = replayed_config(
        changed.config,
        changed,
        steps=None,
        places={"model.weights": str(tmp_path), "data.source": "hub:a/b@c#d/e"},
    )
    with pytest.raises(UserError, match=f"sha256 is now absent, and the run read {digest}"):
        refuse_other_inputs(changed, plain)
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match=f"is now {file_digest(tmp_path / 'model.safetensors')}"):
        refuse_other_inputs(changed, plain)


def test_a_config_of_another_version_names_the_code_that_made_it(own, tmp_path, capsys, monkeypatch):
    from tunix_exp.replay import inputs

    def refuse(plain):
        raise UserError("`optim.gone` is not a key")

    monkeypatch.setattr(inputs.configs, "validate", refuse)
    assert replayed(own, "--to", str(tmp_path / "again")) == 2
    told = capsys.readouterr().err
    assert "this version does not take the run's config:\n`optim.gone` is not a key" in told
    assert "repeat it with the code that made it: version 0.1.0" in told


@pytest.mark.parametrize("key", ["data.source", "data.mix.notes.source"])
def test_a_file_may_have_another_name_unless_its_rows_go_by_it(key):
    def refuse(id_field, source):
        settings = {key.replace("source", "fields.id"): id_field, key: "there/train.jsonl"}
        settings.setdefault("data.fields.id", None)
        run = SimpleNamespace(setting=settings.__getitem__, config={"data": {"fields": {"id": None}}})
        if key != "data.source":
            run.config["data"]["mix"] = {"notes": {"fields": {} if id_field is None else {"id": id_field}}}
        inputs._refuse_other_stem(run, key, source)

    refuse("id", "here/other.jsonl")
    refuse(None, "here/train.jsonl")
    with pytest.raises(UserError, match=r"`here/other\.jsonl` has another name") as caught:
        refuse(None, "here/other.jsonl")
    assert caught.value.remedy == "call it train.jsonl"
