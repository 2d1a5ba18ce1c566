"""A run that was killed, whenever it was, is gone on from to the end of one that never was."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import killing
from tests.running import TOY, bits, read_json, read_jsonl, run, run_toy
from tunix_exp import cli
from tunix_exp.evidence.claimed import ClaimedManifest
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.evidence.verify import verify
from tunix_exp.stages import export, report, score, training

HELD_OUT = "eval.heldout_every_steps=2"
EXPORT = "training.export=[hf]"


class Killed(BaseException):
    """Nothing in the program catches this: what lies there is what a kill leaves."""


def die(*_: object, **__: object) -> None:
    raise Killed


def die_at_second(whole: Callable[..., Any]) -> Callable[..., Any]:
    calls = []

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        return die() if len(calls) == 2 else whole(*arguments, **named)

    return counted


# Where a run dies that has saved the state of its last step, and by what.
LATE: dict[str, tuple[object, str, Callable[[Any], Any]]] = {
    "the hash of what was trained": (
        training,
        "Meter",
        lambda whole: lambda *a: _whole_dies(whole(*a)),
    ),
    "the trained evaluation": (score, "evaluate", die_at_second),
    "the export": (export, "write_model", lambda _: die),
    "the curves": (report, "draw_curves", lambda _: die),
    "the page": (report, "run_page", lambda _: die),
    "the verification": (RunDirectory, "complete", lambda _: die),
    "the seal": (ClaimedManifest, "seal", lambda _: die),
}


def _whole_dies(meter: Any) -> Any:
    meter.whole = die
    return meter


def kill_at(where: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> Path:
    owner, name, dying = LATE[where]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying(getattr(owner, name)))
        with pytest.raises(Killed):
            run_toy(folder, HELD_OUT, EXPORT, *words)
    assert read_json(folder / "run_manifest.json")["status"] == "running"
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The run that was never killed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert run_toy(folder, HELD_OUT, EXPORT) == 0
    return folder


def ends_as(whole: Path, resumed: Path) -> None:
    """`resumed` is completed, verified, and has the bits of `whole` in all that it did itself."""
    manifest = read_json(resumed / "run_manifest.json")
    assert manifest["status"] == "completed"
    assert verify(resumed) == []
    expected, found = bits(whole), bits(resumed)
    after = manifest["resumed_from"]["step"]
    assert found["metrics"] == [row for row in expected["metrics"] if row["step"] > after]
    assert {**found, "metrics": None} == {**expected, "metrics": None}
    held_out = [read_jsonl(run / "heldout.jsonl") for run in (whole, resumed)]
    assert held_out[1] == [row for row in held_out[0] if row["step"] >= after]
    for name in ("heldout/base.jsonl", "heldout/trained.jsonl", "export/hf/model.safetensors"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize("where", LATE)
def test_a_run_that_dies_after_its_last_step_is_finished_by_one_that_takes_none(
    where, whole, tmp_path, monkeypatch
):
    killed = kill_at(where, tmp_path / "killed", monkeypatch)
    assert run_toy(tmp_path / "rest", HELD_OUT, EXPORT, f"training.resume={killed}") == 0
    ends_as(whole, tmp_path / "rest")
    manifest = read_json(tmp_path / "rest" / "run_manifest.json")
    assert manifest["resumed_from"] == {
        "run_id": read_json(killed / "run_manifest.json")["run_id"], "step": 4,
    }  # fmt: skip
    assert manifest["throughput"] == {"kind": "no step"}
    assert manifest["tokens_per_s"] is None
    assert (tmp_path / "rest" / "metrics.jsonl").read_text() == ""
    assert not (tmp_path / "rest" / "curves.png").exists()


def test_auto_finishes_such_a_run_once_and_then_begins_anew(whole, tmp_path, monkeypatch):
    kill_at("the export", tmp_path / "1", monkeypatch)
    assert run_toy(tmp_path / "2", HELD_OUT, EXPORT, "training.resume=auto") == 0
    ends_as(whole, tmp_path / "2")
    assert run_toy(tmp_path / "3", HELD_OUT, EXPORT, "training.resume=auto") == 0
    assert read_json(tmp_path / "3" / "run_manifest.json")["resumed_from"] is None
    assert "starting at step 0" in (tmp_path / "3" / "training_log.txt").read_text()
    assert bits(tmp_path / "3") == bits(whole)


@pytest.mark.parametrize("how", ["auto", "named"])
def test_a_run_that_went_on_and_was_killed_again_is_gone_on_from(how, whole, tmp_path, monkeypatch):
    def resume(number):
        return "training.resume=" + ("auto" if how == "auto" else str(tmp_path / f"{number}"))

    kill_at("the trained evaluation", tmp_path / "1", monkeypatch)
    kill_at("the page", tmp_path / "2", monkeypatch, resume(1))
    kill_at("the seal", tmp_path / "3", monkeypatch, resume(2))
    assert run_toy(tmp_path / "4", HELD_OUT, EXPORT, resume(3)) == 0
    ends_as(whole, tmp_path / "4")
    parent = read_json(tmp_path / "3" / "run_manifest.json")["run_id"]
    assert read_json(tmp_path / "4" / "run_manifest.json")["resumed_from"] == {"run_id": parent, "step": 4}


def test_one_that_was_killed_before_it_had_a_checkpoint_of_its_own_leads_to_its_parent(
    whole, tmp_path, monkeypatch
):
    kill_at("the export", tmp_path / "1", monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(training, "placed_state", die)
        with pytest.raises(Killed):
            run_toy(tmp_path / "2", HELD_OUT, EXPORT, f"training.resume={tmp_path / '1'}")
    assert not list((tmp_path / "2").glob("checkpoints/*"))
    assert run_toy(tmp_path / "3", HELD_OUT, EXPORT, f"training.resume={tmp_path / '2'}") == 0
    ends_as(whole, tmp_path / "3")


def test_a_run_killed_before_its_first_checkpoint_is_begun_anew_by_auto(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(training.Checkpoints, "save", die)
        with pytest.raises(Killed):
            run_toy(tmp_path / "1", HELD_OUT, EXPORT)
    assert (tmp_path / "1" / "metrics.jsonl").exists()
    assert run_toy(tmp_path / "2", HELD_OUT, EXPORT, "training.resume=auto") == 0
    assert bits(tmp_path / "2") == bits(whole)


def test_the_held_out_loss_of_the_step_that_is_gone_on_from_is_not_lost(whole, tmp_path, monkeypatch):
    # Killed between the checkpoint of step 2 and the held-out loss that falls due there.
    with monkeypatch.context() as patch:
        patch.setattr(training, "heldout_loss", die)
        with pytest.raises(Killed):
            run_toy(tmp_path / "1", HELD_OUT, EXPORT, "training.save_every_steps=2")
    assert not (tmp_path / "1" / "heldout.jsonl").exists()
    words = (HELD_OUT, EXPORT, "training.save_every_steps=2", f"training.resume={tmp_path / '1'}")
    assert run_toy(tmp_path / "2", *words) == 0
    assert [row["step"] for row in read_jsonl(tmp_path / "2" / "heldout.jsonl")] == [2, 4]
    ends_as(whole, tmp_path / "2")


def test_a_checkpoint_that_was_being_written_is_left_alone(whole, tmp_path, monkeypatch):
    words = (HELD_OUT, EXPORT, "training.save_every_steps=1", "training.keep_checkpoints=1")
    assert run_toy(tmp_path / "1", *words, "training.stop_at_step=3") == 130
    torn = tmp_path / "1" / "checkpoints" / "4.orbax-checkpoint-tmp"
    (torn / "default").mkdir(parents=True)
    with (tmp_path / "1" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "1").rglob("*")}
    assert run_toy(tmp_path / "2", *words, "training.resume=auto") == 0
    ends_as(whole, tmp_path / "2")
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "1").rglob("*")} == before


KINDS = {
    "an adapter": ("adapter=lora", "adapter.rank=2", "adapter.alpha=4", "adapter.dropout=0.1"),
    "slices of a batch": ("optim.accumulation_steps=2",),
    "bfloat16 state": ("device.state_dtype=bfloat16", "optim.rounding=stochastic"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_trained_ends_alike(kind, tmp_path, monkeypatch):
    words = (*KINDS[kind], "training.save_every_steps=2")
    assert run_toy(tmp_path / "whole", HELD_OUT, EXPORT, *words) == 0
    killed = kill_at("the export", tmp_path / "killed", monkeypatch, *words)
    resume = f"training.resume={killed}"
    assert run_toy(tmp_path / "late", HELD_OUT, EXPORT, *words, resume) == 0
    ends_as(tmp_path / "whole", tmp_path / "late")
    shutil.rmtree(killed / "checkpoints" / "4")
    assert run_toy(tmp_path / "early", HELD_OUT, EXPORT, *words, resume) == 0
    ends_as(tmp_path / "whole", tmp_path / "early")


def test_a_run_without_evaluation_is_finished_too_and_claims_no_losses(tmp_path, monkeypatch):
    words = [word for word in TOY if not word.startswith("eval.")]
    with monkeypatch.context() as patch:
        patch.setattr(report, "readme", die)
        with pytest.raises(Killed):
            run(tmp_path / "1", *words, "eval=none")
    assert run(tmp_path / "2", *words, "eval=none", "training.resume=auto") == 0
    assert verify(tmp_path / "2") == []
    parent = read_json(tmp_path / "1" / "run_manifest.json")["run_id"]
    page = (tmp_path / "2" / "report.html").read_text()
    assert f"Resumed from {parent} at its last step, 4: no step was left." in page
    assert (
        f"`{parent}` at step 4, its last: no step was left, and the curves are that run's"
        in (tmp_path / "2" / "README.md").read_text()
    )


def test_such_a_run_is_packed_compared_and_replayed_like_any_other(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the pages are left
    kill_at("the export", tmp_path / "runs" / "1", monkeypatch)
    rest = tmp_path / "runs" / "2"
    assert run_toy(rest, HELD_OUT, EXPORT, "training.resume=auto") == 0
    assert cli.main(["pack", str(rest), "--kaggle", "--out", str(tmp_path / "run.tar")]) == 0
    assert cli.main(["compare", str(tmp_path / "runs" / "1"), str(rest)]) == 0
    assert cli.main(["report", str(rest)]) == 0
    assert cli.main(["replay", str(tmp_path / "run.tar"), "--to", str(tmp_path / "again")]) == 0
    assert bits(tmp_path / "again") == bits(whole)


def test_a_run_cannot_say_that_it_took_no_step_when_it_did_nor_the_other_way_round(
    whole, tmp_path, monkeypatch
):
    kill_at("the export", tmp_path / "1", monkeypatch)
    assert run_toy(tmp_path / "2", HELD_OUT, EXPORT, "training.resume=auto") == 0

    def claims(run: Path, **changes: object) -> str:
        shutil.copytree(run, tmp_path / "altered")
        file = tmp_path / "altered" / "run_manifest.json"
        file.write_text(json.dumps(read_json(file) | changes))
        found = " | ".join(one.what for one in verify(tmp_path / "altered"))
        shutil.rmtree(tmp_path / "altered")
        return found

    must = "`throughput` must say that there was no step exactly when `resumed_from` had done the last one"
    rates = read_json(whole / "run_manifest.json")["throughput"]
    assert must in claims(tmp_path / "2", throughput=rates)
    assert must in claims(tmp_path / "2", resumed_from={"run_id": "x", "step": 3})
    assert must in claims(whole, throughput={"kind": "no step"})
    assert "but the run took no step" in claims(tmp_path / "2", tokens_per_s=1.0)
    assert "the run went on from step 5" in claims(tmp_path / "2", resumed_from={"run_id": "x", "step": 5})


@pytest.mark.slow
def test_a_process_that_is_killed_at_a_seeded_moment_is_gone_on_from_with_the_same_bits(tmp_path):
    assert killing.finish(tmp_path / "whole") is None
    found = list(killing.outcomes(tmp_path / "killed", tmp_path / "whole", seed=3, before=1, after=2))
    assert [one.faults for one in found] == [()] * 3, found
    assert sum(one.is_after_last_step for one in found) == 2
