"""Numbers, clocks and what calculating with numbers gives."""

import re
from fractions import Fraction

from tunix_exp.scoring import algebra
from tunix_exp.scoring.tokens import Token
from tunix_exp.scoring.values import Amount, Clock


def with_formula(value: Amount, formula: algebra.Formula, unit: str | None = None) -> Amount:
    """The amount with another formula, written in the same way."""
    return Amount(formula, unit or value.unit, value.decimals, value.digits, value.is_plain, value.is_done)


def amount_of(token: Token) -> Amount:
    """The number that the token spells."""
    text = token.text.replace(",", "").replace(" ", "")
    mantissa = text.lower().partition("e")[0]
    point = "." in mantissa
    digits = len(mantissa.replace(".", "").lstrip("0"))
    decimals = len(mantissa.partition(".")[2]) if point and mantissa == text else None
    return Amount(algebra.number(Fraction(text)), decimals=decimals, digits=digits, is_plain=True)


def repeating(text: str) -> Amount:
    r"""The fraction that a decimal with `\overline` is: 0.1\overline{6} is 1/6."""
    whole, _, rest = text.partition(".")
    lead, _, period = rest.partition("\\overline{")
    period = period.removesuffix("}")
    shift = 10 ** len(lead)
    value = Fraction(int(whole or "0")) + Fraction(int(lead or "0"), shift)
    value += Fraction(int(period), (10 ** len(period) - 1) * shift)
    return Amount(algebra.number(value), is_plain=True)


def added(one: Amount, two: Amount, sign: str) -> Amount:
    """The sum or difference; of two numbers it is a calculation left standing."""
    other = algebra.negative(two.formula) if sign == "-" else two.formula
    formula = algebra.add(one.formula, other)
    return Amount(formula, is_done=formula.rational is None and one.is_done and two.is_done)


def multiplied(one: Amount, two: Amount, sign: str) -> Amount:
    """The product or quotient; of two numbers only a fraction and `a × 10^n` are numbers themselves."""
    if sign == "/":
        formula = algebra.divide(one.formula, two.formula)
        plain = one.is_plain and two.is_plain
        return Amount(formula, is_plain=plain, is_done=plain or formula.rational is None)
    formula = algebra.multiply(one.formula, two.formula)
    scientific = one.is_plain and two.is_plain and sign == "*" and _is_power_of_ten(two.formula.rational)
    return Amount(formula, is_plain=scientific, is_done=scientific or formula.rational is None)


def _is_power_of_ten(value: Fraction | None) -> bool:
    if value is None or value <= 0:
        return False
    upper, lower = str(value.numerator), str(value.denominator)
    return upper.rstrip("0") == "1" and lower.rstrip("0") == "1"


def clock_of(text: str) -> Clock | None:
    """The time or ratio that the text spells; None for a time that no clock shows."""
    half = re.search(r"([ap])\.?m\.?$", text.lower())
    first, *rest = re.findall(r"[0-9]+", text)
    if half is None:
        return Clock((str(int(first)), *rest))
    if not 1 <= int(first) <= 12 or any(len(part) != 2 or int(part) > 59 for part in rest):
        return None
    hour = int(first) % 12 + 12 * (half[1] == "p")
    return Clock((str(hour), *(rest or ("00",))))
