from pathlib import Path

import pytest

from tunix_exp.evidence.metrics import (
    HELDOUT_KEYS,
    heldout_steps,
    logged_steps,
    read_metrics,
    step_disagreement,
)
from tunix_exp.evidence.strict_json import BrokenFile


def test_the_first_every_nth_and_the_last_step_are_logged() -> None:
    assert logged_steps(after=0, last=12, every=5) == [1, 5, 10, 12]


def test_a_resumed_run_logs_the_steps_that_were_left() -> None:
    whole = logged_steps(after=0, last=12, every=5)
    assert logged_steps(after=7, last=12, every=5) == [step for step in whole if step > 7]


def test_the_held_out_loss_is_due_at_its_multiples() -> None:
    assert heldout_steps(after=4, last=12, every=4) == [8, 12]
    assert heldout_steps(after=0, last=12, every=None) == []


def test_a_step_that_is_missing_or_not_due_is_named() -> None:
    rows = [{"step": 1}, {"step": 7}]
    said = step_disagreement(rows, [1, 5, 10])
    assert said == "holds 2 steps where 3 are due; step 5 is missing; step 7 is not due"
    assert step_disagreement(rows, [1, 7]) is None


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"step": 2}', "has no `loss_nats`"),
        ('{"step": 2, "loss_nats": "low"}', "`loss_nats` is 'low', not a number"),
        ('{"step": 2, "loss_nats": true}', "`loss_nats` is True, not a number"),
        ('{"step": 2.5, "loss_nats": 1}', "`step` is 2.5, not a count"),
        ('{"step": 0, "loss_nats": 1}', "`step` is 0, not a count"),
        ('{"step": 1, "loss_nats": 1}', "step 1 follows step 1"),
    ],
)
def test_a_line_that_is_no_metric_is_named(tmp_path: Path, line: str, says: str) -> None:
    file = tmp_path / "heldout.jsonl"
    file.write_text('{"step": 1, "loss_nats": 2.0}\n' + line + "\n")
    with pytest.raises(BrokenFile) as caught:
        read_metrics(file, file="heldout.jsonl", keys=HELDOUT_KEYS)
    assert caught.value.finding.startswith(f"line 2: {says}")
