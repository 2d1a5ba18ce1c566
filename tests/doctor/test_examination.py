"""The verb, here and now."""

import json

import pytest

from tunix_exp import cli
from tunix_exp.doctor import examination, machine
from tunix_exp.doctor.finding import Finding


@pytest.mark.slow
def test_here_nothing_fails_and_every_line_has_a_level_a_name_and_words(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["doctor", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is True
    names = [one["name"] for one in said["findings"]]
    assert {"python", "code", "config", "devices", "cuda", "tpu", "memory", "disk", "cache", "hub"} < set(
        names
    )
    assert all(one["level"] in ("ok", "warn") and one["says"] for one in said["findings"])
    assert all(one["remedy"] for one in said["findings"] if one["level"] == "warn")
    # looking leaves nothing behind
    assert list(tmp_path.iterdir()) == []


def test_one_failure_is_told_with_its_remedy_and_decides_the_exit_status(capsys, monkeypatch):
    findings = [Finding("memory", "ok", "8 GiB"), Finding("disk", "fail", "0.1 GiB", "free some")]
    monkeypatch.setattr("tunix_exp.verbs.doctor.examine", lambda: iter(findings))
    assert cli.main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["fail", "disk", "0.1", "GiB"]
    assert lines[2].strip() == "free some"
    assert lines[-1] == "1 to fix before a first run"


def test_what_was_not_looked_at_is_not_said(monkeypatch):
    """Without a lock beside the package, nothing is said of the packages' versions."""
    well = Finding("x", "ok", "said")
    for module, names in (
        (examination.software, ("python", "config", "environment", "code")),
        (examination.card, ("cuda",)),
        (examination.machine, ("devices", "tpu", "host_memory", "compilation_cache", "places")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, lambda *a, **k: well)
    monkeypatch.setattr(examination.software, "code", lambda _: (well, None))
    monkeypatch.setattr(examination.software, "config", lambda: (well, None))
    monkeypatch.setattr(examination.software, "environment", lambda *_: [])
    monkeypatch.setattr(examination.machine, "places", lambda _: [])
    monkeypatch.setattr(examination, "hub", list)
    assert "packages" not in [one.name for one in examination.examine()]


@pytest.mark.parametrize("words", [["--yaml"], ["now"]])
def test_words_that_the_doctor_does_not_take(words, capsys):
    assert cli.main(["doctor", *words]) == 2
    assert "python -m tunix_exp doctor [-h] [--json]" in capsys.readouterr().err


def test_a_jax_that_waits_for_its_device_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(machine, "_LOOK", "import time; time.sleep(60)")
    monkeypatch.setattr(machine, "_TIMEOUT_S", 0.5)
    found = machine.devices(has_nvidia=False, has_tpu=False)
    assert (found.level, found.says) == ("fail", "JAX found no device within 0.5 s")
