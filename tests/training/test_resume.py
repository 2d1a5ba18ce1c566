import json

import pytest

from tunix_exp.errors import UserError
from tunix_exp.evidence.manifest import RunManifest, parse_manifest
from tunix_exp.evidence.sections import Code, Kaggle, Machine
from tunix_exp.training.resume import Parent, check_same, differences, find

PLAIN = {
    "seed": 0,
    "optim": {"peak_lr": 1e-3},
    "objective": {"name": "sft"},
    "training": {"resume": "never", "stop_at_step": None, "steps": 40},
}


def past(folder, *, plain=PLAIN, steps=(20,), status="interrupted"):
    manifest = RunManifest.opening(
        run_id=folder.name, name="n", mode="full", command=("x",), config_hash="0" * 64, seed=0,
        code=Code(version="1", git_commit=None, git_dirty=None, git_diff_sha256=None, lock_sha256=None),
        machine=Machine(system="L", architecture="a", processor="p", cpu_flags=None, threads=1),
        replay_of=None,
        kaggle=Kaggle(kaggle_notebook_url=None, kaggle_notebook_version=None, kaggle_run_id=None),
    )  # fmt: skip
    folder.mkdir()
    (folder / "run_manifest.json").write_text(
        json.dumps(manifest.model_dump(mode="json") | {"status": status})
    )
    (folder / "config.json").write_text(json.dumps(plain))
    for step in steps:
        (folder / "checkpoints" / str(step)).mkdir(parents=True)
    return folder


def test_never_begins_at_step_0(tmp_path):
    past(tmp_path / "a")
    assert find("never", PLAIN, tmp_path / "b") is None


def test_a_named_run_is_resumed_from_its_newest_checkpoint(tmp_path):
    parent = find(str(past(tmp_path / "a", steps=(5, 20, 10))), PLAIN, tmp_path / "b")
    assert parent is not None
    assert (parent.run_id, parent.step) == ("a", 20)


def test_a_changed_config_is_refused_key_by_key(tmp_path):
    other = {"seed": 1, "optim": {"peak_lr": 2e-3}, "training": PLAIN["training"]}
    with pytest.raises(UserError, match=r"(?s)seed: 0 → 1.*optim\.peak_lr: 0\.001 → 0\.002.*same config"):
        find(str(past(tmp_path / "a")), other, tmp_path / "b")


def test_how_far_a_run_goes_may_change(tmp_path):
    other = {**PLAIN, "training": {"resume": "x", "stop_at_step": 30, "steps": 40}}
    assert find(str(past(tmp_path / "a")), other, tmp_path / "b") is not None


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        find(str(tmp_path), PLAIN, tmp_path / "b")


def test_a_run_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no checkpoint to resume from"):
        find(str(past(tmp_path / "a", steps=())), PLAIN, tmp_path / "b")


def test_auto_takes_the_newest_unfinished_run_with_the_same_config(tmp_path):
    past(tmp_path / "1")
    past(tmp_path / "2")
    past(tmp_path / "3", plain={**PLAIN, "seed": 9})
    past(tmp_path / "4", status="completed")
    past(tmp_path / "5", steps=())
    (tmp_path / "6").mkdir()
    parent = find("auto", PLAIN, tmp_path / "6")
    assert parent is not None
    assert parent.run_id == "2"
    assert find("auto", {**PLAIN, "seed": 7}, tmp_path / "6") is None


def test_a_key_that_one_side_lacks_is_a_difference():
    assert differences({"a": {"b": 1}}, {"a": {"c": 2}}) == ["a.b: 1 → (absent)", "a.c: (absent) → 2"]


KNOWN = {
    "data.sha256": "a" * 64, "data.rows": 12, "eval.sha256": "b" * 64,
    "model.tokenizer_digest": "c" * 64, "model.base_weight_hash": "d" * 64,
}  # fmt: skip


def knowing(folder):
    """A parent whose manifest knows what it stood on."""
    manifest = json.loads((past(folder) / "run_manifest.json").read_text())
    manifest["data"] = {"name": "d", "source": "x.jsonl", "rows": 12, "sha256": "a" * 64}
    manifest["eval"] = {
        "kind": "items", "name": "e", "source": "y.jsonl", "rows": 3, "sha256": "b" * 64, "stop": [],
    }  # fmt: skip
    manifest["model"] = {
        "name": "m", "family": "gpt2", "weights": "random", "revision": None, "parameter_count": 1,
        "base_weight_hash": "d" * 64, "trained_weight_hash": None, "tokenizer_digest": "c" * 64, "files": {},
    }  # fmt: skip
    return Parent(folder, parse_manifest(json.dumps(manifest)), 20, (folder,))


@pytest.mark.parametrize("key", KNOWN)
def test_what_the_parent_stood_on_must_be_what_this_run_stands_on(tmp_path, key):
    parent = knowing(tmp_path / "a")
    check_same(parent, KNOWN)
    other = "e" * 64 if isinstance(KNOWN[key], str) else 13
    with pytest.raises(UserError, match=rf"(?s){key} is {other} here, {KNOWN[key]} there.*resume=never"):
        check_same(parent, KNOWN | {key: other})


def continued(folder, of, **known):
    """A run that went on from the run `of`."""
    file = past(folder, **known) / "run_manifest.json"
    resumed = {"resumed_from": {"run_id": of, "step": 20}}
    file.write_text(json.dumps(json.loads(file.read_text()) | resumed))
    return folder


def test_auto_leaves_a_run_alone_that_another_has_gone_on_from_to_its_end(tmp_path):
    past(tmp_path / "1", status="running")
    continued(tmp_path / "2", "1", status="failed")
    assert find("auto", PLAIN, tmp_path / "4").run_id == "2"
    continued(tmp_path / "3", "2", status="completed")
    assert find("auto", PLAIN, tmp_path / "4") is None
    past(tmp_path / "0", status="running")
    assert find("auto", PLAIN, tmp_path / "4").run_id == "0"


def test_auto_goes_by_when_a_run_began_and_not_by_its_name(tmp_path):
    for name in ("9", "10"):
        past(tmp_path / name)
    assert find("auto", PLAIN, tmp_path / "11").run_id == "10"


def test_a_run_that_has_no_checkpoint_yet_means_the_one_that_it_went_on_from(tmp_path):
    past(tmp_path / "1", status="running")
    continued(tmp_path / "2", "1", steps=(), status="running")
    continued(tmp_path / "3", "2", steps=(), status="running")
    assert find(str(tmp_path / "3"), PLAIN, tmp_path / "4").run_id == "1"
    assert find("auto", PLAIN, tmp_path / "4").run_id == "1"


def test_a_checkpoint_that_is_still_being_written_is_none(tmp_path):
    past(tmp_path / "1", steps=(5, "10.orbax-checkpoint-tmp"))
    assert find("auto", PLAIN, tmp_path / "2").step == 5


@pytest.mark.parametrize("how", ["auto", "named"])
def test_a_run_that_is_past_the_step_to_stop_at_is_refused(tmp_path, how):
    resume = "auto" if how == "auto" else str(tmp_path / "1")
    past(tmp_path / "1")
    plain = {**PLAIN, "training": {**PLAIN["training"], "stop_at_step": 20}}
    with pytest.raises(UserError, match=r"(?s)is at step 20 already.*training.stop_at_step.*later step"):
        find(resume, plain, tmp_path / "2")


def test_a_directory_that_is_not_there_is_refused_like_a_name_too_long_for_one(tmp_path):
    for name, what in (("x", "there is no directory"), ("x" * 300, "File name too long")):
        with pytest.raises(UserError, match=rf"(?s){what}.*training.resume.*never, auto, or the directory"):
            find(str(tmp_path / name), PLAIN, tmp_path / "b")


@pytest.mark.parametrize("left", [b"", b"{", b"\xff\xfe{}"])
@pytest.mark.parametrize("name", ["run_manifest.json", "config.json"])
def test_what_a_kill_left_half_written_is_passed_over_by_auto_and_refused_by_name(tmp_path, name, left):
    past(tmp_path / "1")
    (past(tmp_path / "2") / name).write_bytes(left)
    assert find("auto", PLAIN, tmp_path / "3").run_id == "1"
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        find(str(tmp_path / "2"), PLAIN, tmp_path / "3")


def test_a_run_that_ended_before_its_config_was_written_is_refused(tmp_path):
    (past(tmp_path / "1") / "config.json").unlink()
    with pytest.raises(UserError, match=r"has no config.json: its run ended before"):
        find(str(tmp_path / "1"), PLAIN, tmp_path / "2")


def test_a_completed_run_may_be_named(tmp_path):
    parent = find(str(past(tmp_path / "1", status="completed")), PLAIN, tmp_path / "2")
    assert parent.describe().endswith("at step 20, a completed run")
