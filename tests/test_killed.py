"""A run that was killed, whenever it was, is gone on from to the end of one that never was."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunix_exp.run
from tests.running import bits, read_json, read_jsonl, run_toy
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.evidence.verify import verify

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
    "the hash of what was trained": (tunix_exp.run, "Meter", lambda whole: lambda *a: _whole_dies(whole(*a))),
    "the trained evaluation": (tunix_exp.run, "evaluate", die_at_second),
    "the comparison": (tunix_exp.run, "eval_summary", lambda _: die),
    "the export": (tunix_exp.run, "write_model", lambda _: die),
    "the card of the export": (tunix_exp.run, "model_card", lambda _: die),
    "the curves": (tunix_exp.run, "draw_curves", lambda _: die),
    "the page": (tunix_exp.run, "run_page", lambda _: die),
    "the verification": (RunDirectory, "complete", lambda _: die),
    "the seal": (RunDirectory, "_seal", lambda _: die),
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
