import re

import pytest

from tests.report.page.run_folder import CONFIG, Page, answers, write_folder
from tunix_exp.report.page.sweep import runs_page


def write(root, name, *, correct, lr, seed=0, manifest=None, **changes):
    config = CONFIG | {"seed": seed, "optim": CONFIG["optim"] | {"peak_lr": lr}, **changes}
    says = {"status": "completed", **(manifest or {})}
    run = write_folder(
        root / name,
        base=answers("-" * len(correct)),
        trained=answers(correct),
        config=config,
        manifest=says,
    )
    (run / "report.html").write_text("a page")
    return run


@pytest.fixture
def sweep(tmp_path):
    """Three runs that ended and one that failed."""
    error = {"stage": "training", "type": "X", "message": "loss is nan", "where": None, "remedy": None}
    return [
        write(tmp_path, "0", correct="++------", lr=0.1),
        write(tmp_path, "1", correct="+++++++-", lr=0.2),
        write(tmp_path, "2", correct="++++++--", lr=0.3),
        write(tmp_path, "3", correct="++++++++", lr=0.4, manifest={"status": "failed", "error": error}),
    ]


def page_of(runs, target):
    return Page(runs_page(runs, target=target / "report.html", title="a sweep"))


def rows_of(page):
    return page.attributes("data-row")


def test_the_table_is_sorted_by_score_and_what_failed_comes_last_without_one(sweep, tmp_path):
    page = page_of(sweep, tmp_path)
    assert rows_of(page) == ["1", "2", "0", "3"]
    assert "3 of 4 runs completed" in page.text
    assert "failed training: loss is nan" in page.text
    headings = [found for tag, found in page.elements if tag == "th" and "aria-sort" in found]
    assert [found["aria-sort"] for found in headings] == ["descending"]
    assert "100.0 %" not in page.text


def test_only_the_keys_that_differ_are_columns(sweep, tmp_path):
    page = page_of(sweep, tmp_path)
    text = page.text
    assert "run optim.peak_lr score" in text
    assert "warmup_steps" not in text
    assert "The same in all: training.steps=4 optim.peak_lr=0.003" in text


def test_the_first_sentence_names_the_best_and_whether_the_next_is_shown_to_be_behind(sweep, tmp_path):
    text = page_of(sweep, tmp_path).text
    assert "Best of 3 scored runs: 1 (optim.peak_lr=0.2), 87.5 % exact match." in text
    assert "Runner-up 2: −12.5 points (95 % CI [" in text
    assert "]), not significantly different." in text


def test_runs_that_tie_are_all_named_as_best(tmp_path):
    runs = [
        write(tmp_path, name, correct=correct, lr=0.1) for name, correct in (("0", "++--"), ("1", "--++"))
    ]
    text = page_of(runs, tmp_path).text
    assert "Tied for best of 2 scored runs: 0 and 1, 50.0 % exact match. Against 1: +0.0 points" in text


def test_a_run_that_is_clearly_behind_is_said_to_be(tmp_path):
    runs = [
        write(tmp_path, "0", correct="+" * 40, lr=0.1),
        write(tmp_path, "1", correct="-" * 40, lr=0.2),
    ]
    text = page_of(runs, tmp_path).text
    assert "Runner-up 1: −100.0 points (95" in text
    assert "]), significantly lower." in text


def test_links_lead_from_the_page_to_the_runs_own_pages(sweep, tmp_path):
    assert {"0/report.html", "1/report.html"} <= set(page_of(sweep, tmp_path).attributes("href"))
    assert "../0/report.html" in page_of(sweep, tmp_path / "elsewhere").attributes("href")


def test_all_curves_come_on_one_axis_in_the_colours_of_the_table(sweep, tmp_path):
    data = page_of(sweep, tmp_path).data
    assert [run["name"] for run in data["runs"]] == ["1", "2", "0", "3"]
    assert set(data["specs"]) == {"loss", "heldout", "lr", "grad_norm", "tokens_per_s"}
    color = data["specs"]["loss"]["layer"][0]["encoding"]["color"]["scale"]
    assert color["domain"] == ["1", "2", "0", "3"]
    assert color["range"] == [f"var(--run-{place})" for place in (1, 2, 3, 4)]


def test_many_differing_keys_get_a_table_of_their_own(tmp_path):
    runs = [
        write(tmp_path, name, correct="+-", lr=0.1, model={f"key{n}": f"{name}{n}" for n in range(9)})
        for name in ("a", "b")
    ]
    page = page_of(runs, tmp_path)
    assert "keys" in page.attributes("id")
    assert "model.key8 a8 b8" in page.text
    assert "optim.peak_lr" not in page.text.split("The same in all")[1].split("Results")[1]


def test_scores_on_other_items_are_said_not_to_compare(tmp_path):
    other = {"kind": "items", "name": "x", "source": "x.jsonl", "rows": 2, "sha256": "f" * 64, "stop": []}
    runs = [
        write(tmp_path, "0", correct="+-", lr=0.1),
        write(tmp_path, "1", correct="++", lr=0.1, manifest={"eval": other}),
    ]
    text = page_of(runs, tmp_path).text
    assert "scored on 2 different item sets: their scores are not comparable" in text
    assert "Runner-up" not in text


def test_other_items_of_the_same_source_are_said_not_to_compare(tmp_path):
    one, two, other = (write(tmp_path, name, correct="+-", lr=0.1) for name in "012")
    for file in (other / "predictions").iterdir():
        file.write_text(file.read_text().replace("item-", "other-"))
    assert "different item sets" not in page_of([one, two], tmp_path).text
    assert "scored on 2 different item sets" in page_of([one, other], tmp_path).text


def test_a_job_that_never_began_its_run_is_a_row_with_its_reason(sweep, tmp_path):
    (tmp_path / "4" / ".hydra").mkdir(parents=True)
    page = page_of([*sweep, tmp_path / "4"], tmp_path)
    assert rows_of(page)[-1] == "4"
    assert "no manifest launch: the job ended before its run started" in page.text


def test_no_score_at_all_is_said(tmp_path):
    runs = [write_folder(tmp_path / name, manifest={"status": "completed"}) for name in ("a", "b")]
    page = page_of(runs, tmp_path)
    assert "None of the 2 runs has a score." in page.text
    assert "forest" not in page.attributes("class")


def test_hostile_names_and_values_stay_text(tmp_path):
    hostile = "<img src=x onerror=alert(1)>"
    runs = [
        write(tmp_path, name, correct="+-", lr=0.1, model={"weights": hostile + name})
        for name in ("a<b>", "b&c")
    ]
    page = page_of(runs, tmp_path)
    assert "img" not in [tag for tag, _ in page.elements]
    assert hostile in page.text
    assert rows_of(page) == ["a<b>", "b&c"]


def test_the_same_runs_give_the_same_bytes_and_nothing_is_asked_of_a_network(sweep, tmp_path):
    target = tmp_path / "report.html"
    html = runs_page(sweep, target=target, title="a sweep")
    assert runs_page(sweep, target=target, title="a sweep") == html
    assert not re.search(r"https?://", html)
    assert len(html.encode()) < 3_000_000
