import base64
import gzip
import hashlib
import json
import random
import re

import pytest

from tests.report.page.run_folder import CONFIG, Page, answers, write_folder
from tunix_exp.errors import UserError
from tunix_exp.report.page.run import run_page
from tunix_exp.report.result import sentences

HOSTILE = "</script><img src=x onerror=\"alert('1')\">&lt;{{ 7*7 }}"


@pytest.fixture
def run(tmp_path):
    return write_folder(tmp_path / "run", base=answers("+--+--"), trained=answers("+++-+-"))


def test_the_page_is_whole_html_whose_links_and_labels_lead_somewhere(run):
    page = Page(run_page(run))
    ids = page.attributes("id")
    assert len(ids) == len(set(ids)) > 10
    targets = [link.removeprefix("#") for link in page.attributes("href") if link.startswith("#")]
    labels = page.attributes("aria-labelledby") + page.attributes("aria-describedby")
    assert len(targets) >= 8
    assert {*targets, *labels, *page.attributes("data-copy")} <= set(ids)
    controls = [found for tag, found in page.elements if tag in ("input", "select")]
    assert [tag for tag, _ in page.elements].count("label") == len(controls)


def test_nothing_is_asked_of_a_network(run):
    html = run_page(run)
    page = Page(html)
    assert not re.search(r"https?://", html)
    assert [link for link in page.attributes("href") if not link.startswith("#")] == ["data:,"]
    assert page.attributes("src") == page.attributes("srcset") == page.attributes("style") == []
    assert not re.search(r"url\(|@import|\beval\(|innerHTML|fetch\(|XMLHttpRequest|import\(", html)


def test_the_policy_allows_the_page_s_own_style_and_scripts_by_hash_and_nothing_else(run):
    page = Page(run_page(run))
    policy = next(found["content"] for _, found in page.elements if "http-equiv" in found)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in policy
    library = gzip.decompress(base64.b64decode(page.inner["script"][0])).decode()
    expected = {
        "script-src": [page.inner["script"][2], library],
        "style-src": page.inner["style"],
    }
    for kind, texts in expected.items():
        hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
        assert rules[kind].split() == [f"'sha256-{one}'" for one in hashes]


def test_hostile_text_stays_text_wherever_it_comes_from(tmp_path):
    one = answers("-", output=HOSTILE)[0]
    odd = {"prompt": HOSTILE, "expected_answer": HOSTILE, "category": HOSTILE, "section": HOSTILE}
    base = [type(one).from_dict(one.to_dict() | odd, where="here")]
    run = write_folder(
        tmp_path / "run",
        base=base,
        trained=base,
        config=CONFIG | {"model": {"weights": HOSTILE, HOSTILE: 1}},
        manifest={"name": HOSTILE, "command": ["python", HOSTILE], "versions": {"jax": HOSTILE}},
    )
    (run / "env_info.txt").write_text(HOSTILE)
    (run / ".hydra" / "overrides.yaml").write_text(f"- {HOSTILE}\n")
    html = run_page(run)
    page = Page(html)
    tags = [tag for tag, _ in page.elements]
    assert "img" not in tags
    assert tags.count("script") == 3
    assert "onerror" not in {name for _, found in page.elements for name in found}
    assert page.text.count(HOSTILE) >= 9
    row = page.data["predictions"][0]
    assert (row["prompt"], row["base"]["output"], row["category"]) == (HOSTILE, HOSTILE, HOSTILE)
    assert "<img" not in html


def test_the_first_sentence_is_the_comparison_s_and_every_group_has_its_row(run):
    page = Page(run_page(run))
    summary = json.loads((run / "eval_summary.json").read_text())
    assert page.text.count(sentences(summary)[0]) == 1
    rows = [found["class"] for _, found in page.elements if found.get("class") == "name"]
    assert len(rows) == 1 + 2 + 2 + 1
    for words in (
        "Section core",
        "Category even",
        "all items",
        "Holm correction over the 4 groups",
    ):
        assert words in page.text


def test_the_filters_count_the_flips(run):
    text = Page(run_page(run)).text
    for words in ("all 6", "wrong → right 3", "right → wrong 1", "both right 1", "both wrong 1"):
        assert words in text
    assert "Category any even odd" in text
    assert "Difficulty any" not in text


def test_the_script_gets_every_answer_and_every_logged_step(run):
    data = Page(run_page(run)).data
    assert [row["outcome"] for row in data["predictions"]] == [
        "both_right", "to_right", "to_right", "to_wrong", "to_right", "both_wrong",
    ]  # fmt: skip
    assert data["series"]["columns"]["loss"] == [3.0, 2.0, 1.0, 0.5]
    assert [chart["key"] for chart in data["charts"]] == ["loss", "lr", "grad_norm", "tokens_per_s"]


def test_what_differs_from_the_defaults_is_marked(run):
    text = Page(run_page(run)).text
    assert "peak_lr 0.003 default 0.001" in text
    assert "optim 1 changed" in text
    assert "training 2 changed" in text
    assert "warmup_steps 40 default" not in text
    (run / ".hydra" / "defaults.json").unlink()
    text = Page(run_page(run)).text
    assert "recorded no defaults" in text
    assert "changed" not in text.replace("Changed by the command", "")


def test_the_same_directory_gives_the_same_bytes_also_once_the_run_has_ended(run):
    (run / "training_log.txt").write_text("begun\n")
    first = run_page(run)
    assert run_page(run) == first
    manifest = json.loads((run / "run_manifest.json").read_text())
    ended = {"status": "completed", "finished_at": "2026-07-01T13:00:00.123456Z", "files": {"a": "a" * 64}}
    (run / "run_manifest.json").write_text(json.dumps(manifest | ended))
    (run / "report.html").write_text(first)
    (run / "training_log.txt").write_text("begun\nthe last line comes late\n")
    assert run_page(run) == first


def test_a_thousand_long_answers_keep_below_3_mb_flips_first_and_the_page_says_so(tmp_path):
    noise = random.Random(0)
    base = answers("-" * 1000)
    long = [
        type(one).from_dict(one.to_dict() | {"output": noise.randbytes(2500).hex()}, where="here")
        for one in base
    ]
    right = answers("-" * 990 + "+" * 10)
    run = write_folder(tmp_path / "run", base=long, trained=right)
    html = run_page(run)
    assert len(html.encode()) < 3_000_000
    page = Page(html)
    shown = page.data["predictions"]
    assert 300 < len(shown) < 1000
    assert [row["outcome"] for row in shown].count("to_right") == 10
    assert f"{len(shown)} of 1,000 items lie in this page, flips first" in page.text


def test_a_failed_run_says_where_it_stopped_and_what_to_do(tmp_path):
    error = {"stage": "plan", "type": "UserError", "message": "the step does not fit", "where": None}
    ended = {"status": "failed", "error": error | {"remedy": "set model.remat=block"}}
    run = write_folder(tmp_path / "run", losses=(), manifest=ended)
    page = Page(run_page(run))
    assert "This run failed in stage “plan”: the step does not fit" in page.text
    assert "set model.remat=block" in page.text
    assert "opening failed" in page.attributes("class")
    assert "curves" not in page.attributes("id")


def test_a_run_that_only_evaluates_shows_scores_and_claims_no_difference(tmp_path):
    run = write_folder(tmp_path / "run", losses=(), base=answers("+--+"))
    page = Page(run_page(run))
    assert "50.0 % exact match on 4 items." in page.text
    assert "right 2 wrong 2" in page.text
    assert "Trained" not in page.text
    assert "forest" not in page.attributes("class")


def test_a_run_without_evaluation_claims_nothing(tmp_path):
    text = Page(run_page(write_folder(tmp_path / "run"))).text
    assert "loss 3 → 0.5. Not evaluated." in text
    assert "Search" not in text


def test_a_preflight_shows_its_plan(tmp_path):
    run = write_folder(tmp_path / "run", losses=(), manifest={"mode": "preflight"})
    text = Page(run_page(run)).text
    assert "Preflight: the step fits in device memory. No weights were loaded." in text
    assert "The step fits: 500.0 MiB of 1000.0 MiB a device, 50.0 %." in text


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="no run directory"):
        run_page(tmp_path)
