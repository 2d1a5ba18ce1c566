import csv
import io
import json

import pytest

from tests.report.page.run_folder import Page
from tests.sweep.drawn import write_job, write_sweep
from tunix_exp import cli
from tunix_exp.errors import UserError
from tunix_exp.report import sweep as told
from tunix_exp.report.sweep_files import SweepFiles
from tunix_exp.scoring.arms import seeds_interval
from tunix_exp.sweep.config import SweepConfig, sweep_config
from tunix_exp.sweep.state import found_jobs
from tunix_exp.sweep.summary import objective, summarized

SCORE = SweepConfig(metric="primary_score", goal=None)
LOSS = SweepConfig(metric="heldout_loss_nats", goal=None)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return write_sweep(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def summary(sweep):
    return summarized(found_jobs(sweep), SCORE)


def test_a_row_a_job_and_an_arm_for_all_that_differ_in_their_seed_alone(summary):
    assert summary["swept"] == ["optim.peak_lr", "seed"]
    assert [job["settings"] for job in summary["jobs"]][:3] == [
        {"optim.peak_lr": "1e-3", "seed": "0"},
        {"optim.peak_lr": "1e-3", "seed": "1"},
        {"optim.peak_lr": "1e-5", "seed": "0"},
    ]
    assert [arm["arm"] for arm in summary["arms"]] == [
        f"optim.peak_lr={rate}" for rate in ("1e-3", "1e-5", "9")
    ]
    assert [arm["jobs"] for arm in summary["arms"]] == [[0, 1], [2, 3], [4, 5]]


def test_intervals_over_seeds_and_over_items_stand_apart(summary):
    best = summary["arms"][0]
    assert best["mean"] == pytest.approx(0.875)
    assert best["over_seeds"] == {"n": 2, "interval_95": (seeds_interval([0.9, 0.85])[0], 1.0)}
    assert best["over_items"]["n"] == 40
    low, high = best["over_items"]["interval_95"]
    assert 0.7 < low < 0.875 < high < 1.0


def test_a_job_that_failed_is_a_failed_row_and_never_a_zero(summary):
    row, arm = summary["jobs"][4], summary["arms"][2]
    assert (row["status"], row["primary_score"], row["heldout_loss_nats"]) == ("failed", None, None)
    assert row["error"] == {"stage": "training", "message": "loss is nan"}
    assert (arm["n_completed"], arm["mean"], arm["over_items"]["interval_95"]) == (0, None, None)
    assert "4 of 6 jobs completed, 2 failed" in told.console(summary)
    assert "job 4 failed: training: loss is nan" in told.console(summary)


def test_the_best_is_named_with_what_its_lead_rests_on(summary):
    best = summary["best"]
    assert (best["arm"], best["jobs"]) == ("optim.peak_lr=1e-3", [0, 1])
    second = best["runner_up"]
    assert second["lead"] == pytest.approx(0.825)
    assert second["over_items"]["comparisons"] == 1  # the arm that failed is nothing to compare with
    assert second["over_items"]["p"] < 1e-6
    assert second["is_shown"]
    assert second["over_seeds"]["n"] == 2
    sentence = told.verdict(summary)
    assert "Best by primary score (maximized): optim.peak_lr=1e-3, 87.5 % (mean over 2 seeds)." in sentence
    assert "Runner-up optim.peak_lr=1e-5: 82.5 points behind (95 % CI over 40 items [" in sentence
    assert "p < 0.0001): significant. Over 2 seeds: 95 % CI [" in sentence


def test_arms_that_tie_are_all_named_as_best(tmp_path):
    for place, correct in enumerate(["++--", "+-+-", "----", "--++"]):
        write_job(tmp_path, place, [f"optim.peak_lr={place}"], correct)
    sentence = told.verdict(summarized(found_jobs(tmp_path), SCORE))
    assert sentence.startswith(
        "Tied for best by primary score (maximized):"
        " optim.peak_lr=0, optim.peak_lr=1 and optim.peak_lr=3, 50.0 %."
        " Against optim.peak_lr=1: the same mean ("
    )
    assert "Runner-up" not in sentence


def test_a_seed_that_ran_twice_is_one_sample(tmp_path):
    rows = [("9", 0, "++--"), ("9", 0, "++--"), ("9", 1, "+++-"), ("1", 0, "----"), ("1", 1, "----")]
    for place, (rate, seed, correct) in enumerate(rows):
        write_job(tmp_path, place, [f"optim.peak_lr={rate}", f"seed={seed}"], correct)
    summary = summarized(found_jobs(tmp_path), SCORE)
    arm = summary["arms"][0]
    assert (arm["n_completed"], arm["over_seeds"]["n"], arm["mean"]) == (3, 2, pytest.approx(0.625))
    assert "62.5 % (mean over 2 seeds)" in told.verdict(summary)


def test_no_lead_of_scores_is_above_100_points(tmp_path):
    for place, correct in enumerate(["++++", "+---", "----", "----"]):
        write_job(tmp_path, place, [f"optim.peak_lr={place // 2}", f"seed={place % 2}"], correct)
    lead = summarized(found_jobs(tmp_path), SCORE)["best"]["runner_up"]
    assert lead["over_seeds"]["interval_95"] == (-1.0, 1.0)


def test_a_lead_is_corrected_for_the_number_of_arms(tmp_path):
    for place, correct in enumerate(["+" * 24 + "-" * 6, "+" * 17 + "-" * 13, "+" * 16 + "-" * 14, "-" * 30]):
        write_job(tmp_path, place, [f"optim.peak_lr={place}"], correct)
    lead = summarized(found_jobs(tmp_path), SCORE)["best"]["runner_up"]
    assert lead["over_items"]["p"] == pytest.approx(2 / 2**7)
    assert lead["over_items"]["p_corrected"] == pytest.approx(3 * 2 / 2**7)
    assert not lead["over_items"]["p_corrected"] > 0.05
    assert lead["over_seeds"] == {"n": 1, "interval_95": None, "n_to_see_5_points": None}


def test_the_metric_and_the_goal_are_those_of_the_config(sweep):
    lower = summarized(found_jobs(sweep), LOSS)
    assert lower["goal"] == "minimize"
    assert lower["best"]["arm"] == "optim.peak_lr=1e-5"  # whose items have less loss
    assert lower["best"]["runner_up"]["is_shown"]
    assert "Best by held-out loss" in told.verdict(lower)
    worst = summarized(found_jobs(sweep), SweepConfig(metric="primary_score", goal="minimize"))
    assert worst["best"]["arm"] == "optim.peak_lr=1e-5"


def test_a_sweeper_is_told_the_metric_of_a_completed_job_alone(sweep):
    jobs = found_jobs(sweep)
    assert objective(jobs[0], SCORE) == pytest.approx(0.9)
    assert objective(jobs[4], SCORE) is None


def test_scores_on_other_items_have_no_best(tmp_path):
    other = {"kind": "items", "name": "x", "source": "x.jsonl", "rows": 2, "sha256": "f" * 64, "stop": []}
    write_job(tmp_path, 0, ["eval=a"], "+-")
    write_job(tmp_path, 1, ["eval=b"], "++", eval=other)
    summary = summarized(found_jobs(tmp_path), SCORE)
    assert summary["best"] is None
    assert "scored on different item sets, and their scores are not comparable" in told.verdict(summary)


def test_a_sweep_of_which_nothing_completed_says_so(tmp_path):
    write_job(tmp_path, 0, ["seed=0"], None)
    (tmp_path / "1" / ".hydra").mkdir(parents=True)
    (write_job(tmp_path, 2, ["seed=2"], "+-") / "eval_summary.json").write_text("{")
    summary = summarized(found_jobs(tmp_path), SCORE)
    assert "No best by primary score: no completed run has this metric." in told.verdict(summary)
    assert [job["status"] for job in summary["jobs"]] == ["failed", "no manifest", "unreadable"]


def test_the_files_hold_the_same_figures_and_the_page_draws_them(sweep):
    assert SweepFiles(sweep, SCORE).write(is_last=True)["n_completed"] == 4
    summary = json.loads((sweep / "summary.json").read_text())
    rows = list(csv.DictReader(io.StringIO((sweep / "summary.csv").read_text())))
    assert [row["status"] for row in rows] == [job["status"] for job in summary["jobs"]]
    assert [float(row["primary_score"]) for row in rows[:4]] == [
        job["primary_score"] for job in summary["jobs"][:4]
    ]
    assert [row["primary_score"] for row in rows[4:]] == ["", ""]
    text = (sweep / "summary.md").read_text()
    assert "| optim.peak_lr=1e-3 | 2/2 | 87.5 % |" in text
    page = Page((sweep / "report.html").read_text())
    assert "Best by primary score (maximized): optim.peak_lr=1e-3" in page.text
    (chart,) = page.data["swept"]
    assert chart["key"] == "optim.peak_lr"
    points = chart["spec"]["layer"][0]["data"]["values"]
    assert [(point["x"], point["y"]) for point in points] == [(1e-3, 90), (1e-3, 85), (1e-5, 0), (1e-5, 10)]
    tones = page.data["specs"]["loss"]["layer"][0]["encoding"]["color"]["scale"]
    by_run = dict(zip(tones["domain"], tones["range"], strict=True))
    assert by_run["0"] == by_run["1"] != by_run["2"]


def test_a_page_that_is_drawn_again_has_the_sweep_s_arms(sweep, tmp_path):
    SweepFiles(sweep, SCORE).write(is_last=True)
    assert cli.main(["report", str(sweep), "--to", str(tmp_path / "again.html")]) == 0
    assert (
        "Best by primary score (maximized): optim.peak_lr=1e-3"
        in Page((tmp_path / "again.html").read_text()).text
    )


@pytest.mark.parametrize(
    ("plain", "says"),
    [
        ({"metric": "score", "goal": None}, "`sweep.metric` = 'score': input should be 'primary_score'"),
        ({"metric": "training_loss", "goal": "up"}, "`sweep.goal` = 'up': input should be 'maximize'"),
        ({"metric": "training_loss", "goal": None, "gaol": 1}, "`sweep.gaol` is not a key — did you mean"),
        ({"metric": "training_loss"}, "`sweep.goal` is missing"),
    ],
)  # fmt: skip
def test_a_wrong_section_is_refused_by_key(plain, says):
    with pytest.raises(UserError) as caught:
        sweep_config(plain)
    assert says in str(caught.value)
    assert "sweep.metric is one of primary_score, verdict_accuracy, heldout_loss_nats, training_loss" in str(
        caught.value
    )
