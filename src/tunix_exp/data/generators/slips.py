"""Traces with one slip, and the verdict that is due on a trace that is shown: what is wrong in it, and where.

A slip is made by one way and recognised by another: `slipped` puts it into the steps, `slip_between` finds it
by comparing what is shown with the steps that are right.
"""

import random
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Literal, NamedTuple, get_args

from tunix_exp.data.generators.traces import in_decimals

Kind = Literal["arithmetic", "copied", "unit", "dropped"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NO_SLIP = "no slip"

_NUMBER = r"\d+(?:\.\d+)?"
_EQUATION = re.compile(rf"(?<![\w.])({_NUMBER}(?: ?[-+*/] ?{_NUMBER})+)( ?= ?)({_NUMBER})(?![\w.]*\d)")
_TERM = re.compile(rf"([-+*/]?) ?({_NUMBER})")
# What is measured alike; a unit is mistaken for another of its group.
_UNITS = (
    ("mm", "cm", "m", "km"),
    ("g", "kg"),
    ("kilometers", "miles", "meters"),
    ("hours", "minutes", "days"),
    ("km/h", "m/s"),
    ("dollars", "cents", "euros"),
)
_OTHER_UNITS = {unit: tuple(one for one in group if one != unit) for group in _UNITS for unit in group}
_LONGEST_FIRST = sorted(_OTHER_UNITS, key=len, reverse=True)
_UNIT = re.compile(rf"(?<![\w/])({'|'.join(map(re.escape, _LONGEST_FIRST))})(?![\w/])")


class Slip(NamedTuple):
    """The one slip in `steps`: its kind, the number of the step (from 1), and the right one in its place."""

    kind: Kind
    steps: tuple[str, ...]
    step: int
    right: str


def slipped(steps: Sequence[str], kind: Kind, draw: random.Random) -> Slip | None:
    """The steps with one slip of this kind; None where they have no place for it.

    `arithmetic` changes the result of a calculation; `copied` one of its numbers, and the result follows;
    `unit` names another unit; `dropped` leaves a step out, of which the next one takes the number.
    """
    if kind == "dropped":
        places = [place for place in range(len(steps)) if _is_apart(steps, place)]
        if len(steps) < 2 or not places:
            return None
        place = draw.choice(places)
        return Slip(kind, (*steps[:place], *steps[place + 1 :]), place + 1, steps[place])
    makes = {"arithmetic": _miscalculated, "copied": _miscopied, "unit": _in_another_unit}
    wrong = [(place, text) for place, step in enumerate(steps) if (text := makes[kind](step, draw))]
    if not wrong:
        return None
    place, text = draw.choice(wrong)
    return Slip(kind, (*steps[:place], text, *steps[place + 1 :]), place + 1, steps[place])


def slip_between(shown: Sequence[str], steps: Sequence[str]) -> Slip | None:
    """The one slip that parts what is `shown` from the right `steps`; None where none or several do."""
    shown, steps = tuple(shown), tuple(steps)
    if len(shown) == len(steps) - 1:
        places = [place for place in range(len(steps)) if (*steps[:place], *steps[place + 1 :]) == shown]
        return Slip("dropped", shown, places[0] + 1, steps[places[0]]) if len(places) == 1 else None
    if len(shown) != len(steps):
        return None
    places = [place for place, pair in enumerate(zip(shown, steps, strict=True)) if pair[0] != pair[1]]
    if len(places) != 1:
        return None
    (place,) = places
    return Slip(_kind(shown[place], steps[place]), shown, place + 1, steps[place])


def verdict(slip: Slip | None) -> str:
    """What is to be said of a trace with this slip, or with none."""
    if slip is None:
        return NO_SLIP
    said = f"step {slip.step} is missing" if slip.kind == "dropped" else f"slip in step {slip.step}"
    return f"{said}: {slip.right}"


def calculations(step: str) -> list[tuple[str, Fraction, Fraction]]:
    """The calculations in a step: as they are written, what they come to, and what is said of them."""
    return [
        (found[0], value, Fraction(found[3]))
        for found in _EQUATION.finditer(step)
        if (value := _value(found[1])) is not None
    ]


def corrected(step: str, wrong: str) -> str:
    """The calculation of `step` that is another in `wrong`, and what that said it was."""
    for (text, value, said), (_, _, other) in zip(calculations(step), calculations(wrong), strict=True):
        if said != other:
            assert value == said
            return f"{text}, not {_written(other)}"
    raise ValueError(f"{step!r} and {wrong!r} differ in no result")


def _is_apart(steps: Sequence[str], place: int) -> bool:
    """Whether the step is told from those beside it, so that it is seen which is missing."""
    return steps[place] not in (*steps[max(0, place - 1) : place], *steps[place + 1 : place + 2])


def _kind(shown: str, right: str) -> Kind:
    if _UNIT.sub("", shown) == _UNIT.sub("", right):
        return "unit"
    return "copied" if all(value == said for _, value, said in calculations(shown)) else "arithmetic"


def _miscalculated(step: str, draw: random.Random) -> str | None:
    found = _one_of(_EQUATION, step, draw)
    if found is None:
        return None
    digits = len(found[3].partition(".")[2])
    unit = Fraction(1, 10**digits)
    nearby = [unit * one for one in (-2, -1, 1, 2)] + [10 * unit * one for one in (-1, 1)]
    said = Fraction(found[3])
    wrong = said + draw.choice([one for one in nearby if said + one >= 0])
    return step[: found.start(3)] + _written(wrong) + step[found.end(3) :]


def _miscopied(step: str, draw: random.Random) -> str | None:
    found = _one_of(_EQUATION, step, draw)
    if found is None:
        return None
    # The first two: what comes after them in a column is carried, not copied.
    term = draw.choice(list(_TERM.finditer(found[1]))[:2])
    others = [one for one in _misread(term[2]) if _comes_out(_with(found[1], term, one))]
    if not others:
        return None
    calculation = _with(found[1], term, draw.choice(others))
    value = _value(calculation)
    assert value is not None
    return step[: found.start()] + calculation + found[2] + _written(value) + step[found.end() :]


def _with(calculation: str, term: re.Match[str], number: str) -> str:
    return calculation[: term.start(2)] + number + calculation[term.end(2) :]


def _misread(number: str) -> list[str]:
    """The numbers with one digit changed by one or two, or two neighbouring digits changed about."""
    read = [
        number[:place] + str(int(digit) + by) + number[place + 1 :]
        for place, digit in enumerate(number)
        if digit.isdigit()
        for by in (-2, -1, 1, 2)
        if 0 <= int(digit) + by <= 9
    ]
    read += [number[:at] + number[at + 1] + number[at] + number[at + 2 :] for at in range(len(number) - 1)]
    return [one for one in read if one != number and str(Fraction(one)) == one]


def _in_another_unit(step: str, draw: random.Random) -> str | None:
    found = _one_of(_UNIT, step, draw)
    if found is None:
        return None
    return step[: found.start()] + draw.choice(_OTHER_UNITS[found[0]]) + step[found.end() :]


def _one_of(pattern: re.Pattern[str], step: str, draw: random.Random) -> re.Match[str] | None:
    found = list(pattern.finditer(step))
    return draw.choice(found) if found else None


_OPERATIONS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "*": Fraction.__mul__,
    "/": Fraction.__truediv__,
}


def _value(calculation: str) -> Fraction | None:
    """By the order of operations; None for a division by zero."""
    total, product = Fraction(0), Fraction(0)
    for found in _TERM.finditer(calculation):
        sign, number = found[1], Fraction(found[2])
        if sign == "/" and not number:
            return None
        if sign in _OPERATIONS:
            product = _OPERATIONS[sign](product, number)
        else:
            total, product = total + product, -number if sign == "-" else number
    return total + product


def _comes_out(calculation: str) -> bool:
    """Whether the result is written exactly: no less than zero, in whole hundredths."""
    value = _value(calculation)
    return value is not None and value >= 0 and (100 * value).denominator == 1


def _written(value: Fraction) -> str:
    hundredths = 100 * value
    assert hundredths.denominator == 1
    return in_decimals(int(hundredths))
