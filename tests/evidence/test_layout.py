from pathlib import Path
from typing import get_args

import pytest

from tunix_exp.evidence.layout import (
    REQUIRED_WHEN_COMPLETED,
    Asks,
    file_hashes,
    files_of,
    forbidden_files,
    has_file,
    required_files,
)
from tunix_exp.evidence.manifest import Mode, Status


def test_full_and_smoke_demand_the_same_files() -> None:
    assert REQUIRED_WHEN_COMPLETED["full"] == REQUIRED_WHEN_COMPLETED["smoke"]
    assert len(REQUIRED_WHEN_COMPLETED["full"]) == 23


@pytest.mark.parametrize("mode", get_args(Mode))
@pytest.mark.parametrize("status", get_args(Status))
def test_no_file_is_both_demanded_and_forbidden(mode: Mode, status: Status) -> None:
    for asks in get_args(Asks):
        required = required_files(status, mode, asks=asks)
        assert "run_manifest.json" in required
        assert not required & forbidden_files(status, mode, asks=asks)


def test_only_a_failed_run_demands_an_analysis_and_a_completed_one_forbids_it() -> None:
    assert "failure_analysis.md" in required_files("failed", "full", asks="items")
    assert "failure_analysis.md" not in required_files("interrupted", "full", asks="items")
    assert "failure_analysis.md" in forbidden_files("completed", "full", asks="items")


def test_a_mode_that_trains_nothing_cannot_hold_what_training_makes() -> None:
    forbidden = forbidden_files("completed", "eval", asks="items")
    assert {"metrics.jsonl", "heldout.jsonl", "checkpoints/", "predictions/trained.jsonl"} <= forbidden
    assert "predictions/base.jsonl" in forbidden_files("completed", "full", asks="none")


def test_a_run_that_asks_the_harness_has_its_files_and_no_predictions() -> None:
    whole = {"harness/base.json", "harness/base.jsonl", "harness/trained.json", "harness/trained.jsonl"}
    whole |= {"harness_summary.json"}
    assert whole <= required_files("completed", "full", asks="harness")
    assert {"harness/trained.jsonl", "predictions/base.jsonl"} <= forbidden_files(
        "completed", "eval", asks="harness"
    )
    assert whole <= forbidden_files("completed", "full", asks="items")
    assert whole <= forbidden_files("completed", "preflight", asks="harness")


def test_every_file_but_the_manifest_is_hashed_by_its_raw_bytes(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_bytes(b"a\r\n")
    (tmp_path / "run_manifest.json").write_text("{}")
    (tmp_path / "b.txt").write_bytes(b"")
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "run_manifest.json").write_text("{}")  # not the run's own
    assert files_of(tmp_path) == [".hydra/config.yaml", "b.txt", "export/run_manifest.json"]
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert file_hashes(tmp_path)["b.txt"] == empty
    crlf = "8e4621379786ef42a4fec155cd525c291dd7db3c1fde3478522f4f61c03fd1bd"
    assert file_hashes(tmp_path)[".hydra/config.yaml"] == crlf


def test_a_folder_is_there_when_something_lies_in_it() -> None:
    assert has_file("checkpoints/", {"checkpoints/1/x"})
    assert not has_file("checkpoints/", {"checkpoints.txt"})
    assert not has_file("plan.json", {"old/plan.json"})


def test_a_run_that_took_no_step_has_no_curves():
    assert "curves.png" in required_files("completed", "full", asks="items")
    assert "curves.png" not in required_files("completed", "full", asks="items", took_no_step=True)
    assert "curves.png" in forbidden_files("completed", "full", asks="items", took_no_step=True)
    assert "metrics.jsonl" in required_files("completed", "full", asks="items", took_no_step=True)
