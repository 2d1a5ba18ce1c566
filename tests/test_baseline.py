"""A run measured against another: what it says, how it exits, and that verify knows."""

import dataclasses
import html
import shutil
import sys
from pathlib import Path

import pytest

import tunix_exp.stages.score
from tests.resealing import reseal
from tests.running import TOY, read_json, read_jsonl, run_toy
from tunix_exp import cli
from tunix_exp.evidence.verify import verify
from tunix_exp.report.result import result_line, sentences

BASELINE = "predictions/baseline.jsonl"


@pytest.fixture(scope="module")
def perfect(tmp_path_factory) -> Path:
    """A run of mode eval whose model knows all answers."""
    folder = tmp_path_factory.mktemp("perfect") / "run"
    evaluate = tunix_exp.stages.score.evaluate

    def all_right(*words, **options):
        found = evaluate(*words, **options)
        told = [
            dataclasses.replace(
                one,
                output=f"Answer: {one.expected_answer}",
                extracted_answer=one.expected_answer,
                correct=True,
                classification=dataclasses.replace(one.classification, name="right"),
            )
            for one in found.predictions
        ]
        return dataclasses.replace(found, predictions=told)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tunix_exp.stages.score, "evaluate", all_right)
        assert run_toy(folder, "mode=eval") == 0
    return folder


@pytest.fixture(scope="module")
def regressed(perfect, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("regressed") / "run"
    assert run_toy(folder, f"eval.baseline={perfect}", "eval.baseline_tolerance_points=99") == 4
    return folder


def test_a_run_that_loses_more_than_allowed_is_completed_and_regressed(regressed, perfect):
    manifest = read_json(regressed / "run_manifest.json")
    assert (manifest["status"], manifest["verdict"]) == ("completed", "regressed")
    assert manifest["baseline"]["run_id"] == read_json(perfect / "run_manifest.json")["run_id"]
    summary = read_json(regressed / "eval_summary.json")
    told = summary["baseline"]
    assert result_line(summary).endswith(f"; regressed against {told['run_id']} (−100.0 points)")
    assert told["comparison"]["flips_to_wrong"] == 5
    sentence = sentences(summary)[1]
    assert sentence.startswith(
        f"Baseline {manifest['baseline']['run_id']} (tolerance 99 points): regressed. "
        "No evidence of a difference: 100.0 % → 0.0 % "
    )
    assert f"**{sentence}**" in (regressed / "README.md").read_text()
    page = html.unescape((regressed / "report.html").read_text())
    assert 'class="opening worse"' in page
    assert f'<p class="verdict">{sentence}</p>'.replace(" %", "\N{NO-BREAK SPACE}%") in page
    answers = read_jsonl(perfect / "predictions" / "base.jsonl")
    of_its_own_run = {"question", "classification"}
    assert read_jsonl(regressed / BASELINE) == [
        {key: value for key, value in one.items() if key not in of_its_own_run} for one in answers
    ]
    assert verify(regressed) == []


def test_a_baseline_may_be_gone_afterwards_and_a_replay_does_without_it(regressed, perfect, tmp_path):
    hidden = perfect.rename(tmp_path / "hidden")
    try:
        assert verify(regressed) == []
        assert cli.main(["replay", str(regressed), "--to", str(tmp_path / "again")]) == 0
    finally:
        hidden.rename(perfect)


def test_a_sweep_shows_what_regressed_and_what_held(perfect, tmp_path, capfd):
    words = [f"eval.baseline={perfect}", "eval.baseline_tolerance_points=1,100", "mode=eval"]
    assert cli.main(["-m", f"hydra.sweep.dir={tmp_path}", *TOY, *words]) == 4
    rows = [line for line in capfd.readouterr().out.splitlines() if line.startswith(("0  ", "1  "))]
    assert "  regressed  " in rows[0]
    assert "  completed  " in rows[1]
    page = (tmp_path / "report.html").read_text()
    assert page.count("regressed against its baseline") == 1
    assert read_json(tmp_path / "1" / "run_manifest.json")["verdict"] == "held"


def test_a_sweep_in_which_a_job_failed_has_failed_whatever_regressed(perfect, tmp_path):
    words = ["eval.max_items=5,4", "mode=eval"]
    words += [f"eval.baseline={perfect}", "eval.baseline_tolerance_points=1"]
    assert cli.main(["-m", f"hydra.sweep.dir={tmp_path}", *TOY, *words]) == 1
    assert read_json(tmp_path / "0" / "run_manifest.json")["verdict"] == "regressed"
    assert read_json(tmp_path / "1" / "run_manifest.json")["status"] == "failed"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "No such file or directory"),
        (("eval.max_items=4",), "answered other items: 5 there, 4 here"),
    ],
)
def test_a_baseline_that_cannot_serve_is_refused_before_anything_loads(
    perfect, tmp_path, monkeypatch, words, message
):
    monkeypatch.setitem(sys.modules, "tunix_exp.run", None)  # whose import would be that of JAX
    place = perfect if words else tmp_path / "nowhere"
    tolerance = "eval.baseline_tolerance_points=1"
    assert run_toy(tmp_path / "run", f"eval.baseline={place}", tolerance, *words) == 1
    error = read_json(tmp_path / "run" / "run_manifest.json")["error"]
    assert error["stage"] == "baseline"
    assert message in error["message"]
    assert error["remedy"] is not None
    assert verify(tmp_path / "run") == []


def alter(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "altered"))


def test_a_verdict_typed_by_hand_is_named(regressed, tmp_path):
    run = alter(regressed, tmp_path)
    reseal(run, lambda manifest: manifest.update(verdict="held"))
    assert [(one.file, one.what) for one in verify(run)] == [
        ("run_manifest.json", "`verdict` is 'held', eval_summary.json gives 'regressed'")
    ]
    reseal(run, lambda manifest: manifest.update(verdict=None))
    assert "`verdict` must be known exactly when there is a `baseline`" in {one.what for one in verify(run)}


def test_another_tolerance_is_named(regressed, tmp_path):
    run = alter(regressed, tmp_path)
    reseal(run, lambda manifest: manifest["baseline"].update(tolerance_points=100.0))
    found = {one.file: one.what for one in verify(run)}
    assert found["run_manifest.json"] == "`baseline` is not that of `eval.baseline` in config.json"
    assert found["eval_summary.json"] == "`baseline` is not what the predictions and losses give"


def test_an_easier_baseline_is_named(regressed, tmp_path):
    run = alter(regressed, tmp_path)
    text = (run / BASELINE).read_text()
    (run / BASELINE).write_text(text.replace('"output": "Answer: ', '"output": "Answer: no ', 1))
    reseal(run)
    assert any(one.file == BASELINE and "the output gives" in one.what for one in verify(run))
    (run / BASELINE).write_text(text.partition("\n")[0] + "\n")
    reseal(run)
    assert (BASELINE, "is of other items than predictions/base.jsonl") in {
        (o.file, o.what) for o in verify(run)
    }
    (run / BASELINE).unlink()
    reseal(run)
    assert (BASELINE, "is missing") in {(one.file, one.what) for one in verify(run)}


def test_a_baseline_that_was_not_named_is_named(toy_run, regressed, tmp_path):
    run = alter(toy_run, tmp_path)
    shutil.copyfile(regressed / BASELINE, run / BASELINE)
    reseal(run)
    assert [(one.file, one.what) for one in verify(run)] == [
        (BASELINE, "cannot come from a run without a baseline")
    ]
