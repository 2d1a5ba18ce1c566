from pathlib import Path

from tests.report.page.run_folder import answers, write_folder
from tunix_exp.report.outcomes import Outcome, outcomes, table


def test_every_job_of_a_sweep_has_a_row(tmp_path: Path) -> None:
    ended = {"status": "completed"}
    write_folder(tmp_path / "0", base=answers("+-----"), trained=answers("+++++-"), manifest=ended)
    error = {"stage": "train", "type": "ValueError", "message": "no\nluck", "where": None, "remedy": None}
    write_folder(tmp_path / "1", manifest={"status": "failed", "error": error})
    write_folder(tmp_path / "2")
    (tmp_path / "3" / ".hydra").mkdir(parents=True)
    (tmp_path / "4").mkdir()
    (tmp_path / "4" / "run_manifest.json").write_text("{")
    rows = outcomes(tmp_path)
    overrides = ("training.steps=4", "optim.peak_lr=0.003")
    result = "16.7 % → 83.3 % exact match on 6 items (+66.7 points, no evidence of a difference)"
    assert rows[:4] == [
        Outcome("0", overrides, "completed", result, False),
        Outcome("1", overrides, "failed", "train: no luck", False),
        Outcome("2", overrides, "running", "", False),
        Outcome("3", (), "no manifest", "the job ended before its run started", False),
    ]
    assert rows[4].status == "unreadable"


def test_the_table_is_aligned_under_its_heading() -> None:
    rows = [
        Outcome("0", ("seed=1",), "completed", "50.0 %", True),
        Outcome("10", (), "failed", "train: nan", False),
    ]
    assert table(rows) == (
        "run  overrides  status                result\n"
        "0    seed=1     completed, regressed  50.0 %\n"
        "10              failed                train: nan"
    )


def test_overrides_that_all_jobs_share_are_left_out() -> None:
    rows = [Outcome(str(job), ("mode=smoke", f"seed={job}"), "completed", "", False) for job in range(2)]
    assert "mode=smoke" not in table(rows)
    assert "seed=1" in table(rows)


def test_job_10_comes_after_job_9(tmp_path: Path) -> None:
    for job in range(11):
        (tmp_path / str(job) / ".hydra").mkdir(parents=True)
    assert [row.run for row in outcomes(tmp_path)] == [str(job) for job in range(11)]


def test_a_sweep_without_runs_has_no_rows(tmp_path: Path) -> None:
    assert outcomes(tmp_path) == []
