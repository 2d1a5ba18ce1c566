import pytest

from tunix_exp.scoring import symbolic
from tunix_exp.scoring.match import compare

EQUAL = [
    ("\\sec^2(y)", "\\tan^2(y) + 1"),
    ("2\\sin x\\cos x", "\\sin 2x"),
    ("(e^{x})^2", "e^{2x}"),
    ("\\ln 8 / \\ln 2", "\\log_{2} 8"),
]
DIFFERENT = [("\\sec^2(y)", "\\tan^2(y) + 2"), ("|x - 3|", "3 - x"), ("\\sin x", "\\cos x"), ("2^{x}", "x^2")]


@pytest.mark.parametrize(("given", "expected"), EQUAL)
def test_formulas_with_functions_are_equal_if_their_values_are(given, expected):
    assert compare(given, expected).rule == "math"
    assert compare(given, expected).is_right


@pytest.mark.parametrize(("given", "expected"), DIFFERENT)
def test_formulas_with_functions_that_differ_somewhere_are_not(given, expected):
    assert compare(given, expected).rule == "none"


@pytest.mark.parametrize(("given", "expected"), EQUAL)
def test_without_the_extra_they_are_wrong_and_undecided(given, expected, monkeypatch):
    monkeypatch.setattr(symbolic, "is_installed", lambda: False)
    verdict = compare(given, expected)
    assert (verdict.is_right, verdict.rule) == (False, "undecided")


@pytest.mark.parametrize(
    "given", ["e^{e^{e^{e^{x}}}}", "9^{9^{x}}", "x^{x^{x^{x}}}", "1/\\sin(0)", "\\ln(0)"]
)
def test_values_that_are_none_or_too_large_decide_nothing(given):
    assert not compare(given, "\\sin x").is_right
    assert compare(given, given).is_right
