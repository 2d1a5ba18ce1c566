from fractions import Fraction

import pytest

from tunix_exp.scoring.equations import equations, numbers


@pytest.mark.parametrize(("line", "found"), [
    ("7+2=9", [True]),
    ("7 + 2 = 8", [False]),
    ("60 km/h * 5 hours = 300 kilometers", [True]),
    ("8 + 6 * 7 = 8 + 42 = 50", [True, True]),
    ("34 - 27 = 7, so 27 - 34 = -7", [True, True]),
    ("$180 / 4 = $45.00", [True]),
    ("15% * 80 = 12", [True]),
    ("12 = 3 × 4", [True]),
    ("1 / 3 = 0.33, not 0.34 = 1 / 3", [True, False]),
    ("1 / 3 = 0.3", [False]),  # one decimal is no rounding
    ("4 / 0 = 4", [False]),
    ("1,200 + 1 = 1,201", [True]),
    # pieces of a larger formula, and none
    ("(8 + 6) * 7 = 98", []),
    ("2x + 3 - 1 = 7", []),
    ("2 + 3 = 5 * (1)", []),
    ("The total is 12.", []),
])  # fmt: skip
def test_equations_in_prose_are_found_whole_and_computed(line, found):
    assert [one.is_true for one in equations(line)] == found


def test_sums_and_products_are_equal_in_any_order_and_differences_are_not():
    assert len(set(equations("1+2+3=6, 3+2+1=6"))) == 1
    assert len(set(equations("2*3=6, 3*2=6"))) == 1
    assert len(set(equations("5-2=3, 5-3=2"))) == 2


def test_numbers_are_exact():
    assert numbers("1,200 and 3.5, v1.2.3") == [Fraction(1200), Fraction(7, 2)]
