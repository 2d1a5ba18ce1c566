"""What is odd is written down and shown, and fails nothing."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.resealing import reseal
from tunix_exp.evidence import run_directory
from tunix_exp.evidence.findings import derive
from tunix_exp.evidence.kinds.registry import kinds_of
from tunix_exp.evidence.manifest import parse_manifest
from tunix_exp.evidence.opened import OpenedRun
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.evidence.sections import Finding
from tunix_exp.evidence.verify import Disagreement, verify
from tunix_exp.verbs import verify as verb

Claim = Callable[..., RunDirectory]
Fill = Callable[..., None]


def found(run: Path, **changes: object) -> dict[str, Finding]:
    """The findings by their codes, the last of each, with a manifest that says `changes` too."""
    plain = json.loads((run / "run_manifest.json").read_text()) | changes
    opened = OpenedRun(run, parse_manifest(json.dumps(plain)), "completed", kinds_of, is_sealed=True)
    return {one.code: one for one in derive(opened)}


def change_lines(run: Path, change: Callable[[int, dict[str, Any]], object]) -> None:
    """The lines of the metrics, each as `change` makes it."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for place, row in enumerate(rows):
        change(place, row)
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def run(tmp_path: Path, claim_run: Claim, fill_run: Fill) -> Path:
    made = claim_run(tmp_path / "run")
    fill_run(made)
    made.complete()
    return made.root


def test_a_plain_run_has_no_findings_and_says_so(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads((run / "run_manifest.json").read_text())["findings"] == []
    assert verb.main([str(run)]) == 0
    assert capsys.readouterr().out == f"{run}: verified\n"


def test_a_step_that_stalls_is_found_on_its_line(run: Path) -> None:
    change_lines(run, lambda place, row: row.update(slowest_step_s=2.1) if place == 2 else None)
    one = found(run)["stall"]
    assert one.where == "metrics.jsonl, step 10"
    assert one.sentence == "one of 5 steps took 2.1 s, where a step usually takes 0.1 s"


@pytest.mark.parametrize(("seconds", "is_odd"), [(5.0, False), (15.0, True)])
def test_the_first_step_of_a_process_may_take_longer(run: Path, seconds: float, is_odd: bool) -> None:
    change_lines(run, lambda place, row: row.update(slowest_step_s=seconds) if place == 0 else None)
    assert ("stall" in found(run)) == is_odd


def test_slow_steps_that_are_all_alike_are_no_stalls(run: Path) -> None:
    change_lines(run, lambda place, row: row.update(step_s=7.0, slowest_step_s=7.0))
    assert "stall" not in found(run)


def test_of_a_hundred_stalls_twenty_are_told_one_by_one(run: Path) -> None:
    line = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    with (run / "metrics.jsonl").open("a") as stream:
        for step in range(21, 321):
            slow = step % 3 == 0
            stream.write(json.dumps(line | {"step": step, "step_s": 5.0 if slow else 0.1}) + "\n")
    opened = OpenedRun(
        run, parse_manifest((run / "run_manifest.json").read_text()), "completed", kinds_of, is_sealed=True
    )
    stalls = [one for one in derive(opened) if one.code == "stall"]
    assert len(stalls) == 20
    assert stalls[-1].sentence.endswith("; and 80 more like it")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"finished_at": "2001-01-01T00:00:00.000000Z"}, "clock was set"),
        ({"finished_at": "2999-01-01T00:00:00.000000Z"}, "clock was set"),
        ({"elapsed_s": -3.0}, "negative time"),
        ({"times_s": {"prepare": 0.5, "training": -3.0}}, "negative time"),
        ({"compiles": {"count": 1, "seconds": -0.5}}, "negative time"),
        ({"peak_memory_bytes": 0}, "peak memory unknown"),
        ({"peak_memory_bytes": -1}, "peak memory unknown"),
        ({"peak_memory_bytes": 5}, "peak memory fell"),
        ({"peak_memory_of": "device"}, "peak memory of another holder"),
        ({"throughput": {"model_flops_per_s": 5000.0, "mfu": 1.25}}, "mfu over one"),
    ],
)
def test_what_an_honest_run_may_say_on_a_strange_machine_is_a_finding(
    run: Path, change: dict[str, Any], says: str
) -> None:
    assert says not in found(run)
    assert found(run, **change)[says].where.startswith("run_manifest.json, ")


def test_more_memory_than_the_device_has_is_a_finding(run: Path) -> None:
    plan = json.loads((run / "plan.json").read_text())
    (run / "plan.json").write_text(json.dumps(plan | {"device_memory_bytes": 999}))
    one = found(run, peak_memory_of="device")["peak memory over the device's"]
    assert one.sentence == "1,000 bytes, more than the device memory of 999"
    assert "peak memory over the device's" not in found(run, peak_memory_of="process")


def test_a_clock_that_is_set_back_completes_the_run_and_stands_in_manifest_and_pages(
    tmp_path: Path,
    claim_run: Claim,
    fill_run: Fill,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = claim_run(tmp_path / "run")
    fill_run(run)
    earlier = datetime.now(UTC) - timedelta(hours=2)
    monkeypatch.setattr(run_directory, "utc_now", lambda: earlier.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))

    def pages() -> None:
        (one,) = run.manifest.findings or ()
        for name in ("README.md", "report.html"):
            page = (run.root / name).read_text()
            run.write_text(name, f"{page}\n{one.sentence}\n")

    run.complete(pages=pages)
    assert run.manifest.status == "completed"
    (one,) = run.manifest.findings or ()
    assert one.code == "clock was set"
    assert "less than the 0 s that the run took by its own clock: the system's was set back" in one.sentence
    assert f"finding: {one.where}: {one.sentence}" in (run.root / "training_log.txt").read_text()
    assert verb.main([str(run.root)]) == 0
    assert capsys.readouterr().out == (
        f"{run.root}: verified; 1 finding\n  finding: {one.where}: {one.sentence}\n"
    )


def test_a_finding_taken_out_of_the_manifest_or_put_in_disagrees(run: Path) -> None:
    reseal(run, lambda says: says["times_s"].update(prepare=-1.0))
    (one,) = [one for one in verify(run) if one.file == "run_manifest.json"]
    assert one.what.startswith("`findings` lacks one: run_manifest.json, times_s, prepare: it is -1 s")
    odd = {"code": "stall", "where": "metrics.jsonl, step 5", "sentence": "it slept"}
    reseal(run, lambda says: says["times_s"].update(prepare=1.0) or says.update(findings=[odd]))
    assert verify(run) == [
        Disagreement(
            "run_manifest.json", "`findings` has one that no file shows: metrics.jsonl, step 5: it slept"
        )
    ]


def test_a_log_whose_clock_is_set_back_goes_on_in_its_order(tmp_path: Path, claim_run: Claim) -> None:
    run = claim_run(tmp_path / "run")
    run.log._clock = lambda: -50.0
    run.log.say("later")
    run.fail("training", ValueError("no"), analysis="text")
    assert [one.code for one in run.manifest.findings or ()] == ["clock was set", "negative time"]
    assert verify(run.root) == []
