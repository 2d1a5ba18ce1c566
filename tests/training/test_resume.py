import json

import pytest

from tunix_exp.errors import UserError
from tunix_exp.evidence.manifest import Code, Kaggle, Machine, RunManifest
from tunix_exp.training.resume import Parent, check_frozen, differences, find

PLAIN = {
    "seed": 0,
    "optim": {"peak_lr": 1e-3},
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


def test_an_adapter_goes_on_beside_the_weights_that_it_was_trained_beside_alone(tmp_path):
    parent = Parent(tmp_path, "a", 20, base_weight_hash="a" * 64)
    check_frozen(parent, "a" * 64)
    with pytest.raises(
        UserError, match=r"(?s)frozen weights \(hash b+\) are not those .* \(hash a+\).*resume=never"
    ):
        check_frozen(parent, "b" * 64)
