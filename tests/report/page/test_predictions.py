import random

import pytest

from tests.report.page.run_folder import answers
from tunix_exp.report.page.predictions import fitting, outcome, prediction_rows
from tunix_exp.report.page.render import packed


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [("+", "+", "both_right"), ("-", "-", "both_wrong"), ("-", "+", "to_right"), ("+", "-", "to_wrong")],
)
def test_an_outcome_is_what_became_of_the_item(before, after, name):
    assert outcome(answers(before)[0], answers(after)[0]) == name


def test_without_a_trained_model_an_item_is_right_or_wrong():
    assert [outcome(one, None) for one in answers("+-")] == ["right", "wrong"]
    assert [row["trained"] for row in prediction_rows(answers("+-"), [])] == [None, None]


def test_both_answers_stand_side_by_side():
    row = prediction_rows(answers("-"), answers("+"))[0]
    assert row["base"]["extracted"] is None
    assert (row["trained"]["extracted"], row["trained"]["correct"]) == ("0", True)
    assert (row["id"], row["prompt"], row["section"], row["difficulty"]) == (
        "item-0", "What is 0?", "edge", None,
    )  # fmt: skip


def test_an_endless_answer_is_cut_and_says_so():
    row = prediction_rows(answers("-", output="x" * 10_000), [])[0]
    assert row["base"]["output"] == "x" * 4000 + " […] (6,000 more characters in predictions/)"


def test_what_does_not_fit_is_left_out_flips_last_and_the_order_stays():
    noise = random.Random(0)
    base, trained = answers("-" * 60), answers("-" * 50 + "+" * 10)
    rows = [row | {"prompt": noise.randbytes(300).hex()} for row in prediction_rows(base, trained)]
    limit = len(packed(rows)) // 2
    kept = fitting(rows, limit)
    assert len(packed(kept)) <= limit
    assert len(kept) > 15
    assert [row for row in rows if row["outcome"] == "to_right"] == kept[-10:]
    assert [row["id"] for row in kept] == [row["id"] for row in rows if row in kept]
    assert fitting(rows) == rows
