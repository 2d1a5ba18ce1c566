"""Checks calculate again what stands above them, and correct what is wrong there."""

import pytest

from tests.data.generators.test_sets import ROWS
from tunix_exp.data.generators.questions import worked
from tunix_exp.data.generators.slips import calculations

SETS = ("nano-checks", "dev-checks")


@pytest.mark.parametrize("name", SETS)
def test_a_row_has_the_right_steps_and_a_check_that_calculates_them_again(name):
    for row in ROWS[name]:
        assert (tuple(row["steps"]), row["answer"]) in worked(row["question"])
        *steps, check = row["restated"]
        assert steps == row["steps"]
        cited = calculations(check)
        assert cited == [one for step in steps for one in calculations(step)]
        assert cited
        assert all(value == said for _, value, said in cited)
        assert "not" not in check


@pytest.mark.parametrize("name", SETS)
def test_three_rows_of_ten_have_a_wrong_result_that_the_check_corrects(name):
    wrong = [row for row in ROWS[name] if row["corrected"] != row["restated"]]
    assert len(wrong) == 3 * len(ROWS[name]) // 10
    for row in wrong:
        *steps, check = row["corrected"]
        false = [
            (text, value, said) for step in steps for text, value, said in calculations(step) if value != said
        ]
        assert len(false) == 1
        ((_, value, said),) = false
        assert all(value == said for _, value, said in calculations(check))
        assert check.count(", not ") == 1
        before, _, after = check.partition(", not ")
        assert calculations(before)[-1][2] == value
        assert after.split(";")[0] == f"{float(said):g}"


def test_no_held_out_sum_is_trained_on_in_either_order():
    def sums(name, key):
        return {frozenset(row[key].removeprefix("Add ").split(" and ")) for row in ROWS[name]}

    assert len(sums("nano-checks-eval", "prompt")) == len(ROWS["nano-checks-eval"]) == 300
    assert not sums("nano-checks", "question") & sums("nano-checks-eval", "prompt")
