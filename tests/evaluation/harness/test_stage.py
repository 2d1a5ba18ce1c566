"""Tasks from local files, from the command line to verified evidence."""

import json
import shutil
from pathlib import Path

import pytest

from tests.evaluation.harness.toys import write_tasks
from tests.resealing import reseal
from tests.running import read_json, read_jsonl, run
from tunix_exp.evidence.verify import verify
from tunix_exp.report.page.ranking import gap, not_comparable, ranked
from tunix_exp.report.page.sweep import runs_page
from tunix_exp.report.result import sentences

WORDS = (
    "model=tiny-gpt2", "model.vocab_size=300", "data.max_rows=20", "mode=smoke",
    "device=cpu", "device.compilation_cache=null",
    "eval=harness", "eval.tasks=[toy_choice,toy_addition,toy_text]", "eval.resamples=1000",
)  # fmt: skip


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("harness")
    tasks = write_tasks(folder / "tasks", "toy_choice", "toy_addition", "toy_text")
    assert run(folder / "run", *WORDS, f"eval.include_path={tasks}") == 0
    return folder / "run"


@pytest.mark.slow
def test_base_and_trained_are_scored_on_tasks_of_one_s_own_and_the_run_verifies(ran):
    manifest = read_json(ran / "run_manifest.json")
    assert manifest["status"] == "completed"
    assert manifest["eval"]["rows"] == 4 + 3 + 2
    assert verify(ran) == []
    rows = read_jsonl(ran / "harness" / "base.jsonl")
    choices = [row for row in rows if row["task"] == "toy_choice"]
    for row in choices:
        scores = [answer[0] for answer in row["filtered"]]
        assert len(scores) == 3
        assert row["metrics"]["acc"] == float(scores.index(max(scores)) == row["target"])
    results = read_json(ran / "harness" / "base.json")
    acc = sum(row["metrics"]["acc"] for row in choices) / 4
    assert results["tasks"]["toy_choice"]["metrics"]["acc,none"]["value"] == acc
    summary = read_json(ran / "harness_summary.json")
    assert summary["tasks"]["toy_choice"]["metrics"]["acc,none"]["base"] == acc
    assert summary["comparison"]["n_items"] == manifest["headline"]["n_items"] == 7
    assert list(summary["comparison"]["per_section"]) == ["toy_addition", "toy_choice"]
    assert summary["tasks"]["toy_text"]["metrics"]["bits_per_byte,none"]["of"] == "bits per byte"


@pytest.mark.slow
def test_pages_and_log_say_the_result_and_how_to_repeat_it(ran):
    (sentence,) = sentences(read_json(ran / "harness_summary.json"))
    readme = (ran / "README.md").read_text()
    assert f"**{sentence}**" in readme
    assert "| toy_text | word_perplexity | 2 |" in readme
    assert "uv sync --locked --extra harness" in readme
    page = (ran / "report.html").read_text()
    assert "lm-eval harness" in page
    assert '<th scope="row">toy_choice</th><td>acc_norm</td>' in page


def test_runs_are_ranked_by_their_right_answers_and_paired_on_the_same_items(ran, tmp_path):
    other = Path(shutil.copytree(ran, tmp_path / "other"))
    # a run whose trained model had all choices right
    edited(other, "harness_summary.json", lambda all: all["comparison"].update(trained_accuracy=4 / 7))
    rows = read_jsonl(other / "harness" / "trained.jsonl")
    for row in rows[:4]:
        row["metrics"]["acc"] = 1.0
    (other / "harness" / "trained.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    best, second = ranked([ran, other])
    before = read_json(ran / "harness_summary.json")["comparison"]["trained_accuracy"]
    assert (best.root, best.score, second.score) == (other, 4 / 7, before)
    assert gap(best, second).difference == pytest.approx(before - 4 / 7)
    assert not_comparable([best, second]) is None
    page = runs_page([ran, other], target=tmp_path / "all.html", title="two")
    assert "57.1 %" in page


def edited(run: Path, name: str, change) -> None:
    value = read_json(run / name)
    change(value)
    (run / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def edited_line(run: Path, name: str, number: int, change) -> None:
    rows = read_jsonl(run / name)
    change(rows[number])
    (run / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def flip(row):
    row["metrics"]["acc"] = 1.0 - row["metrics"]["acc"]


def match(row):
    row["metrics"]["exact_match"] = 1.0


def other(key):
    return lambda row: row.update({key: "0" * 64})


TAMPERED = {
    "a choice judged otherwise": (
        lambda run: edited_line(run, "harness/trained.jsonl", 0, flip),
        "harness/trained.jsonl", "`toy_choice/0`: `acc` is not what the log-likelihoods give",
    ),
    "an exact match": (
        lambda run: edited_line(run, "harness/base.jsonl", 4, match),
        "harness/base.json", "`toy_addition` has exact_match,none 0.0, its items give",
    ),
    "a perplexity": (
        lambda run: edited(run, "harness/base.json", lambda all: all["tasks"]["toy_text"]["metrics"][
            "word_perplexity,none"].update(value=12.5)),
        "harness/base.json", "`toy_text` has word_perplexity,none 12.5, its items give",
    ),
    "another question": (
        lambda run: edited_line(run, "harness/trained.jsonl", 5, other("prompt_hash")),
        "harness/trained.jsonl", "has other requests than harness/base.jsonl",
    ),
    "another document": (
        lambda run: [
            edited_line(run, f"harness/{which}.jsonl", 5, other("doc_hash"))
            for which in ("base", "trained")
        ],
        "harness/base.jsonl", "is not of the documents of `eval.sha256` in the manifest",
    ),
    "a row too few": (
        lambda run: [
            (run / f"harness/{which}.jsonl").write_text(
                "".join((run / f"harness/{which}.jsonl").read_text().splitlines(keepends=True)[:-1]))
            for which in ("base", "trained")
        ],
        "harness/base.jsonl", "has 8 items, the manifest 9",
    ),
    "a summary": (
        lambda run: edited(run, "harness_summary.json", lambda all: all["comparison"].update(mcnemar_p=0.01)),
        "harness_summary.json", "`comparison` is not what results and items give",
    ),
    "a headline": (
        lambda run: reseal(run, lambda manifest: manifest["headline"].update(trained_score=1.0)),
        "run_manifest.json", "`headline.trained_score` is 1.0, but harness_summary.json says",
    ),
    "a release": (
        lambda run: reseal(run, lambda manifest: manifest["eval"].update(lm_eval="9.9")),
        "harness/base.json", "is not of lm-eval 9.9, as the manifest says",
    ),
    "a stranger's file": (
        lambda run: (run / "predictions").mkdir() or (run / "predictions" / "base.jsonl").write_text("{}\n"),
        "predictions/base.jsonl", "cannot come from a completed run of this mode and eval",
    ),
}  # fmt: skip


@pytest.mark.parametrize("alter", TAMPERED)
def test_an_alteration_with_every_hash_mended_is_found_by_its_content(alter, ran, tmp_path):
    change, file, what = TAMPERED[alter]
    altered = Path(shutil.copytree(ran, tmp_path / "run"))
    change(altered)
    reseal(altered)
    found = [one.what for one in verify(altered) if one.file == file]
    assert any(what in one for one in found), verify(altered)


def test_a_run_whose_data_set_cannot_be_reached_fails_in_stage_data_with_the_remedy(tmp_path):
    tasks = Path(write_tasks(tmp_path / "tasks", "toy_choice"))
    (tasks / "toy_choice.jsonl").unlink()
    words = (*WORDS, f"eval.include_path={tasks}", "eval.tasks=[toy_choice]")
    assert run(tmp_path / "run", *words) == 1
    error = read_json(tmp_path / "run" / "run_manifest.json")["error"]
    assert error["stage"] == "data"
    assert error["where"] == "eval.tasks"
    assert "HF_HUB_OFFLINE is set" in error["remedy"]
    assert verify(tmp_path / "run") == []


def test_without_the_extra_the_command_is_refused_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tunix_exp.evaluation.config.importlib.util.find_spec", lambda name: None)
    assert run(tmp_path / "run", *WORDS) == 2
    assert not (tmp_path / "run").exists()
    said = capsys.readouterr().err
    assert "the lm-evaluation-harness is not installed" in said
    assert "uv sync --extra harness" in said
