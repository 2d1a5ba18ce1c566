"""What is said of a shown trace, against what is due on it."""

import numpy as np
import pytest
from scipy.stats import binomtest

from tests.closeness import assert_close
from tunix_exp.scoring.verdicts import Verdict, counted, share_interval, verdict_on

ASKED = "67 cm + 72 cm"
RIGHT = f"{ASKED}\n7+2=9\n6+7=13\n139 cm"
WRONG = f"{ASKED}\n7+2=9\n6+7=14\n139 cm"
MISSING = f"{ASKED}\n7+2=9\n139 cm"


@pytest.mark.parametrize(("question", "output", "detected", "located", "corrected"), [
    (WRONG, "slip in step 2: 6+7=13\nAnswer: 139 cm", True, True, True),
    (WRONG, "Slip in step 2:  6 + 7 = 13.\nAnswer: 139 cm", True, True, True),
    (WRONG, "slip in step 2: 6+7=12\nAnswer: 139 cm", True, True, False),
    (WRONG, "slip in step 1: 7+2=9\nAnswer: 139 cm", True, False, False),
    (WRONG, "slip in step 3: 139 cm\nAnswer: 139 cm", True, False, False),
    (WRONG, "step 2 is missing: 6+7=13\nAnswer: 139 cm", True, False, False),
    (WRONG, "no slip\nAnswer: 139 cm", False, False, False),
    (WRONG, "no slip\nslip in step 2: 6+7=13\nAnswer: 139 cm", False, False, False),
    (WRONG, "slip in step 2: 6+7=13\nno slip\nAnswer: 139 cm", True, True, True),
    (MISSING, "step 2 is missing: 6+7=13\nAnswer: 139 cm", True, True, True),
    (MISSING, "slip in step 2: 6+7=13\nAnswer: 139 cm", True, False, False),
    (RIGHT, "slip in step 2: 6+7=13\nAnswer: 139 cm", True, False, False),
    (RIGHT, "no slip\nAnswer: 139 cm", False, False, False),
])  # fmt: skip
def test_a_verdict_is_read(question, output, detected, located, corrected):
    found = verdict_on(question, output)
    assert found is not None
    assert (found.is_said, found.detected, found.located, found.corrected) == (
        True,
        detected,
        located,
        corrected,
    )
    assert found.is_right == (not detected if question == RIGHT else located)


@pytest.mark.parametrize(
    "output", ["", "Answer: 139 cm", "Answer: 139 cm\nno slip", "slip in step two: 6+7=13"]
)
def test_no_verdict_before_the_answer_is_none_and_never_right(output):
    for question in (RIGHT, WRONG):
        found = verdict_on(question, output)
        assert found is not None
        assert (found.is_said, found.detected, found.is_right) == (False, False, False)


@pytest.mark.parametrize("question", [ASKED, "", "What is this?\n7+2=9", f"{ASKED}\n7+2=8\n6+7=14\n139 cm"])
def test_a_question_without_a_trace_that_can_be_judged_has_no_verdict(question):
    assert verdict_on(question, "no slip\nAnswer: 1") is None


def test_verdicts_are_counted_by_the_kind_of_the_slip():
    said = [
        Verdict("unit", True, True, True, False),
        Verdict("unit", True, False, False, False),
        Verdict("clean", True, True, False, False),
        None,
    ]
    found = counted(said)
    assert found is not None
    assert found["unit"] == {"n_items": 2, "is_said": 2, "detected": 1, "located": 1, "corrected": 0}
    assert found["clean"] == {"n_items": 1, "is_said": 1, "detected": 1, "located": 0, "corrected": 0}
    assert found["copied"]["n_items"] == 0
    assert counted([None, None]) is None


@pytest.mark.parametrize(("count", "n"), [(0, 1), (0, 50), (50, 50), (3, 100), (114, 200)])
def test_the_interval_of_a_share_is_wilsons(count, n):
    ends = binomtest(count, n).proportion_ci(0.95, method="wilson")
    assert_close(np.array(share_interval(count, n)), np.array(ends), of=1.0, roundings=20, dtype="float64")
