from pathlib import Path
from typing import get_args

import pytest

from tunix_exp.evidence.kinds.kind import Due, EvalKind, Facts
from tunix_exp.evidence.kinds.registry import KINDS, described
from tunix_exp.evidence.sections import Mode, Status


def files(
    due: Due,
    status: Status,
    mode: Mode,
    *,
    eval_kind: EvalKind = "items",
    took_no_step: bool = False,
    is_replay: bool = False,
) -> set[str]:
    facts = Facts(status, mode, eval_kind, took_no_step, is_replay, config={})
    return {file for kind in KINDS if kind.due(facts) == due for file in kind.files}


def test_no_file_is_of_two_kinds():
    names = [file for kind in KINDS for file in kind.files]
    assert len(names) == len(set(names)) == 39
    for name in names:
        assert sum(kind.has(name) for kind in KINDS) == 1, name


def test_full_and_smoke_demand_the_same_files():
    assert files("must", "completed", "full") == files("must", "completed", "smoke")
    assert len(files("must", "completed", "full")) == 23


@pytest.mark.parametrize("mode", get_args(Mode))
@pytest.mark.parametrize("status", get_args(Status))
@pytest.mark.parametrize("eval_kind", get_args(EvalKind))
def test_every_run_must_have_a_manifest_and_a_log(mode: Mode, status: Status, eval_kind: EvalKind):
    assert {"run_manifest.json", "training_log.txt"} <= files("must", status, mode, eval_kind=eval_kind)


def test_only_a_failed_run_demands_an_analysis_and_a_completed_one_forbids_it():
    assert "failure_analysis.md" in files("must", "failed", "full")
    assert "failure_analysis.md" in files("may", "interrupted", "full")
    assert "failure_analysis.md" in files("never", "completed", "full")


def test_a_run_that_did_not_complete_may_have_whatever_it_came_to():
    assert files("never", "interrupted", "eval") == set()


def test_a_mode_that_trains_nothing_cannot_hold_what_training_makes():
    forbidden = files("never", "completed", "eval")
    assert {"metrics.jsonl", "heldout.jsonl", "checkpoints/", "predictions/trained.jsonl"} <= forbidden
    assert "predictions/base.jsonl" in files("never", "completed", "full", eval_kind="none")
    assert "heldout.jsonl" in files("never", "completed", "full", eval_kind="none")


def test_a_run_that_asks_the_harness_has_its_files_and_no_predictions():
    whole = {"harness/base.json", "harness/base.jsonl", "harness/trained.json", "harness/trained.jsonl"}
    whole |= {"harness_summary.json"}
    assert whole <= files("must", "completed", "full", eval_kind="harness")
    assert {"harness/trained.jsonl", "predictions/base.jsonl"} <= files(
        "never", "completed", "eval", eval_kind="harness"
    )
    assert whole <= files("never", "completed", "full")
    assert whole <= files("never", "completed", "preflight", eval_kind="harness")


def test_a_run_that_took_no_step_has_no_curves():
    assert "curves.png" in files("must", "completed", "full")
    assert "curves.png" in files("never", "completed", "full", took_no_step=True)
    assert "metrics.jsonl" in files("must", "completed", "full", took_no_step=True)


def test_a_comparison_lies_in_a_replay_and_nowhere_else():
    assert "replay.json" in files("must", "completed", "full", is_replay=True)
    assert "replay.json" in files("never", "completed", "full")


def test_every_check_and_every_look_is_a_sentence():
    for kind in KINDS:
        for function in (*kind.at_any_end, *kind.integrity, *kind.sanity):
            assert (function.__doc__ or "").partition("\n")[0].endswith("."), function


def test_the_table_of_the_documentation_is_that_of_the_kinds():
    text = (Path(__file__).parents[3] / "docs" / "evidence.md").read_text(encoding="utf-8")
    # to mend it: uv run python -m tunix_exp.evidence.kinds
    assert text.endswith("\n\n" + described())
