from pathlib import Path

import pytest

from tunix_exp.evidence.kinds import heldout
from tunix_exp.evidence.kinds.read import read_lines
from tunix_exp.evidence.strict_json import BrokenFile


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"step": 2}', "has no `loss_nats`"),
        ('{"step": 2, "loss_nats": "low"}', "`loss_nats` is 'low': Input should be a valid number"),
        ('{"step": 2, "loss_nats": true}', "`loss_nats` is True: Input should be a valid number"),
        ('{"step": 2.5, "loss_nats": 1}', "`step` is 2.5: Input should be a valid integer"),
        ('{"step": 0, "loss_nats": 1}', "`step` is 0: Input should be greater than or equal to 1"),
        ('{"step": 1, "loss_nats": 1}', "step 1 follows step 1"),
    ],
)
def test_a_line_that_is_no_metric_is_named(tmp_path: Path, line: str, says: str) -> None:
    file = tmp_path / "heldout.jsonl"
    file.write_text('{"step": 1, "loss_nats": 2.0}\n' + line + "\n")
    with pytest.raises(BrokenFile) as caught:
        read_lines(heldout.KIND, tmp_path)
    assert caught.value.finding.startswith(f"line 2: {says}")
