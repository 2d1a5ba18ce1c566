"""Equations between numbers as they stand in prose: `7+2=9`, `60 km/h * 5 hours = 300 kilometers`."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
_UNIT = r"(?:[ ]?(?:%|(?!x\b)[^\W\d_]+(?:/[^\W\d_]+)?))?"
_AMOUNT = rf"[-−]?[$€£]?{_NUMBER}{_UNIT}"
_SIGN = r"[ ]?[-−+*/×÷·x][ ]?"
_SIDE = rf"{_AMOUNT}(?:{_SIGN}[$€£]?{_NUMBER}{_UNIT}){{0,30}}"
_EQUATION = re.compile(rf"(?<![\w.,]){_SIDE}(?:[ ]?=[ ]?{_SIDE}){{1,8}}")
_TERM = re.compile(rf"(?P<sign>[-−+*/×÷·x]?)[ ]?[$€£]?(?P<number>{_NUMBER}){_UNIT}[ ]?")
_GOES_ON = re.compile(r"[ ]?(?:[-−+*/×÷·x^=][ ]?[\d($\\]|[(^]|\.\d)")
_SPELLED = {"−": "-", "×": "*", "·": "*", "x": "*", "÷": "/"}
_NUMBERS = re.compile(rf"(?<![\w.,]){_NUMBER}")
_LEAST_DECIMALS = 2

Terms = tuple[tuple[str, Fraction], ...]


@dataclass(frozen=True, slots=True)
class Equation:
    """A calculation and what it is said to be. Equal are those of the same numbers, sums in any order."""

    terms: Terms
    result: Fraction
    is_true: bool

    @property
    def operands(self) -> tuple[Fraction, ...]:
        """The numbers that it calculates with."""
        return tuple(number for _, number in self.terms)


def equations(line: str) -> Iterator[Equation]:
    """The equations in a line, in their order; of a chain, one for each sign of equality.

    What belongs to a larger formula, with brackets or letters, is none.
    """
    for found in _EQUATION.finditer(line):
        before = line[: found.start()].rstrip()
        if before.endswith(tuple("-−+*/×÷·^=(")) or _GOES_ON.match(line, found.end()):
            continue
        sides = [(text, _terms(text)) for text in found[0].split("=")]
        for (one, left), (other, right) in itertools.pairwise(sides):
            if len(left) == len(right) == 1:
                continue
            if len(left) == 1:
                one, left, other, right = other, right, one, left
            found_value, said = _value(left), _value(right)
            is_true = found_value is not None and said is not None and _agree(found_value, said, other)
            if said is not None:
                yield Equation(_ordered(left), said, is_true)


def numbers(text: str) -> list[Fraction]:
    """The numbers in a text, without signs."""
    return [Fraction(found[0].replace(",", "")) for found in _NUMBERS.finditer(text)]


def _terms(side: str) -> Terms:
    terms = []
    for found in _TERM.finditer(side.strip()):
        number = Fraction(found["number"].replace(",", ""))
        number = number / 100 if found[0].rstrip().endswith("%") else number
        terms.append((_SPELLED.get(found["sign"], found["sign"]) or "+", number))
    return tuple(terms)


def _value(terms: Terms) -> Fraction | None:
    """By the order of operations; None for a division by zero."""
    total, product = Fraction(0), Fraction(0)
    for sign, number in terms:
        if sign == "*":
            product *= number
        elif sign == "/":
            if not number:
                return None
            product /= number
        else:
            total, product = total + product, number if sign == "+" else -number
    return total + product


def _agree(value: Fraction, said: Fraction, text: str) -> bool:
    """Equal, or rounded to the decimals that are written, two or more."""
    decimals = len(text.strip().partition(".")[2].rstrip("%"))
    return value == said or (decimals >= _LEAST_DECIMALS and abs(value - said) * 2 * 10**decimals <= 1)


def _ordered(terms: Terms) -> Terms:
    """Sums and products in one order."""
    signs = {sign for sign, _ in terms[1:]}
    is_free = signs == {"*"} or (signs == {"+"} and terms[0][0] == "+")
    sign = terms[1][0]
    return tuple(sorted((sign, number) for _, number in terms)) if is_free else terms
