"""A run on a machine that stalls, whose clock is set, or that computes faster than its maker says."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

import tunix_exp.stages.device
from tests.running import read_json, run_toy
from tunix_exp import cli
from tunix_exp.device.speed import GPUS
from tunix_exp.objectives.sft.batch import Source
from tunix_exp.training import meter


def findings(run: Path) -> list[dict[str, str]]:
    manifest = read_json(run / "run_manifest.json")
    assert manifest["status"] == "completed"
    assert cli.main(["verify", str(run)]) == 0
    for name in ("README.md", "report.html"):
        page = (run / name).read_text()
        assert all(one["where"] in page for one in manifest["findings"])
    return manifest["findings"]


@pytest.mark.parametrize("log_every", [1, 10])
def test_a_run_that_stalls_for_two_seconds_between_two_steps_completes_and_says_so(
    tmp_path, monkeypatch, capsys, log_every
):
    arrays = Source.arrays

    def stalled(self, step):
        if step == 3:
            time.sleep(2)
        return arrays(self, step)

    monkeypatch.setattr(Source, "arrays", stalled)
    words = ("training.steps=6", f"training.log_every_steps={log_every}")
    assert run_toy(tmp_path / "run", *words) == 0
    stalls = [one for one in findings(tmp_path / "run") if one["code"] == "stall"]
    # the figures of a step are settled while the next one runs
    assert stalls[-1]["where"] == f"metrics.jsonl, step {2 if log_every == 1 else 6}"
    assert "where a step usually takes" in stalls[-1]["sentence"]
    assert f"  finding: {stalls[-1]['where']}: {stalls[-1]['sentence']}" in capsys.readouterr().out


def test_a_run_that_is_faster_than_its_device_completes_and_says_so(tmp_path, monkeypatch):
    check = tunix_exp.stages.device.check

    def slow(config, **options):
        speed = replace(GPUS[0], peak_flops=1.0)
        return replace(check(config, **options), speed=speed)

    monkeypatch.setattr(tunix_exp.stages.device, "check", slow)
    assert run_toy(tmp_path / "run") == 0
    over = [one for one in findings(tmp_path / "run") if one["code"] == "mfu over one"]
    assert (over[0]["where"], over[-1]["where"]) == (
        "metrics.jsonl, step 1", "run_manifest.json, throughput",
    )  # fmt: skip


def test_a_run_whose_clock_stands_still_or_goes_back_completes_and_says_so(tmp_path, monkeypatch):
    class Back:
        now, calls = 100.0, 0

        def __call__(self):
            self.calls += 1
            self.now -= 5 if self.calls % 4 == 0 else 0
            return self.now

    monkeypatch.setattr(meter.Meter.__init__, "__kwdefaults__", {"clock": Back()})
    assert run_toy(tmp_path / "run", "training.log_every_steps=1") == 0
    assert "clock stood still or went back" in {one["code"] for one in findings(tmp_path / "run")}
