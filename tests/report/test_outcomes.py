from pathlib import Path

from tests.report.page.run_folder import answers, write_folder
from tunix_exp.report.outcomes import Outcome, outcome


def test_a_run_says_how_it_ended(tmp_path: Path) -> None:
    ended = {"status": "completed"}
    write_folder(tmp_path / "0", base=answers("+-----"), trained=answers("+++++-"), manifest=ended)
    error = {"stage": "train", "type": "ValueError", "message": "no\nluck", "where": None, "remedy": None}
    write_folder(tmp_path / "1", manifest={"status": "failed", "error": error})
    write_folder(tmp_path / "2")
    (tmp_path / "3" / ".hydra").mkdir(parents=True)
    (tmp_path / "4").mkdir()
    (tmp_path / "4" / "run_manifest.json").write_text("{")
    rows = [outcome(tmp_path / name, name) for name in "01234"]
    overrides = ("training.steps=4", "optim.peak_lr=0.003")
    result = "16.7 % → 83.3 % exact match on 6 items (+66.7 points, no evidence of a difference)"
    assert rows[:4] == [
        Outcome("0", overrides, "completed", result, False),
        Outcome("1", overrides, "failed", "train: no luck", False),
        Outcome("2", overrides, "running", "", False),
        Outcome("3", (), "no manifest", "the job ended before its run started", False),
    ]
    assert rows[4].status == "unreadable"
