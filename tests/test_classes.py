"""The classes of a run's answers: in its predictions, its scorecard and its pages, and again in `verify`."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.resealing import reseal
from tests.running import read_json, read_jsonl
from tunix_exp.evidence.layout import file_digest
from tunix_exp.evidence.likeness import compare
from tunix_exp.evidence.verify import verify

MODELS = ("base", "trained")


@pytest.fixture
def run(toy_run, tmp_path) -> Path:
    return shutil.copytree(toy_run, tmp_path / "run")


def rewrite(run: Path, which: str, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (run / "predictions" / f"{which}.jsonl").write_text(text, encoding="utf-8")


def without_classes(run: Path) -> Path:
    """The run as a version before the classes would have left it."""
    summary = read_json(run / "eval_summary.json")
    for which in MODELS:
        rows = read_jsonl(run / "predictions" / f"{which}.jsonl")
        later = {"question", "classification"}
        rewrite(run, which, [{key: row[key] for key in row if key not in later} for row in rows])
        del summary[which]["scorecard"]["classes"]
        stage = run / "stages" / f"{which}_evaluation.json"
        record, file = read_json(stage), f"predictions/{which}.jsonl"
        record["files"][file] = file_digest(run / file)
        stage.write_text(json.dumps(record), encoding="utf-8")
    (run / "eval_summary.json").write_text(json.dumps(summary), encoding="utf-8")
    reseal(run)
    return run


def test_every_answer_of_a_run_has_a_class_and_the_scorecard_counts_them(toy_run):
    for which in MODELS:
        rows = read_jsonl(toy_run / "predictions" / f"{which}.jsonl")
        names = Counter(row["classification"]["name"] for row in rows)
        card = read_json(toy_run / "eval_summary.json")[which]["scorecard"]["classes"]
        assert card["n_steps_computed"] == len(rows) == 5
        assert {name: count for name, count in card["counts"].items() if count} == names
        assert all(row["question"] in row["prompt"] for row in rows)


def test_the_classes_are_in_the_pages_of_the_run(toy_run):
    readme, page = ((toy_run / name).read_text("utf-8") for name in ("README.md", "report.html"))
    assert "| answers | base | trained |" in readme
    assert "Steps computed from the question: 5 of 5 items." in readme
    assert '<section id="answers"' in page


@pytest.mark.parametrize("forged", [
    {"name": "no_answer", "step": None, "expected": None, "found": None},
    {"name": "wrong_step", "step": 1, "expected": "1+1=2", "found": "1+1=3"},
    {"are_steps_computed": False},
])  # fmt: skip
def test_a_forged_class_is_found(run, forged):
    rows = read_jsonl(run / "predictions" / "trained.jsonl")
    rows[2]["classification"] |= forged
    rewrite(run, "trained", rows)
    reseal(run)
    assert any("line 3: `classification` is {" in one.what for one in verify(run))


def test_another_question_and_a_line_without_a_class_are_found(run):
    rows = read_jsonl(run / "predictions" / "base.jsonl")
    rows[0]["question"] = "Add 1 and 1"
    rewrite(run, "base", rows)
    reseal(run)
    assert any(
        "line 1: `question` is 'Add 1 and 1', but bundled:nano-eval has" in one.what for one in verify(run)
    )
    for key in ("question", "classification"):
        del rows[1][key]
    rewrite(run, "base", rows)
    reseal(run)
    found = [one.what for one in verify(run)]
    assert any(
        "line 2: other lines have a `classification`, or have none, unlike this one" in one for one in found
    )


def test_counts_that_the_answers_do_not_give_are_found(run):
    summary = read_json(run / "eval_summary.json")
    summary["base"]["scorecard"]["classes"]["counts"]["right"] += 1
    (run / "eval_summary.json").write_text(json.dumps(summary), encoding="utf-8")
    reseal(run)
    assert any("`base` is not what the predictions and losses give" in one.what for one in verify(run))


def test_a_run_from_before_the_classes_verifies_and_a_replay_of_it_is_the_same(run, toy_run):
    before = without_classes(run)
    assert verify(before) == []
    assert compare(before, toy_run, steps=None).is_identical
    # what a first run has, a second must have
    assert not compare(toy_run, before, steps=None).is_identical
