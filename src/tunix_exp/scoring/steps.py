"""Whether the steps before an answer are those that its question asks for; else the first that is not.

What a step claims is compared, not its words: an equation by its numbers (sums and products in any order),
letters one by one, counted words, the yes or no of a rule. Numbers that a sentence repeats must stand in the
question or in its steps. A step may stand in other words, with more around it, and true equations may stand
between the steps. docs/scoring.md has the rule as it is meant for readers.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from tunix_exp.data.generators.questions import Worked
from tunix_exp.scoring.equations import equations, numbers

Kind = Literal["equation", "letters", "counted", "labelled", "verdict", "numbers"]

_BULLET = re.compile(r"^\s*(?:[-*•]\s+|(?:step\s*)?\d{1,2}\s*[.):]\s+)", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z_]+>")
_LETTERS = re.compile(r"\S(?:[ ,-]+\S)+")
_COUNTED = re.compile(r"\d+ [^\W\d_]+(?:,? (?:and )?\d+ [^\W\d_]+)*")
_VERDICT = re.compile(r"\b(?:does|do)(n['’]t| not)?\b", re.IGNORECASE)
_BETWEEN = re.compile(r"[\s,.'\"-]")
# They may be left out: they repeat what the question or another step says.
_OPTIONAL: frozenset[Kind] = frozenset({"labelled", "numbers"})


@dataclass(frozen=True, slots=True)
class WrongStep:
    """The first wrong step: which of those that are due, what it is, and what stands in its place.

    `expected` is None where no further step was due, `found` where the steps end before it.
    """

    step: int
    expected: str | None
    found: str | None


@dataclass(frozen=True, slots=True)
class Steps:
    """What an output shows of its steps: none at all, or right ones, or `wrong` first."""

    is_shown: bool
    wrong: WrongStep | None


@dataclass(frozen=True, slots=True)
class _Claim:
    """What one step says that can be compared: `key` is equal for equal claims of a kind."""

    kind: Kind
    key: object
    text: str
    step: int = 0
    is_false: bool = False


def judged(reasoning: str, ways: Sequence[Worked], question: str, separator: str) -> Steps | None:
    """The steps in `reasoning`, by that way to work the question which they follow furthest.

    None where no way has a step that can be compared, or `separator` does not tell steps apart.
    """
    if not separator.strip() and "\n" not in separator:
        return None
    lines = _lines(reasoning, separator)
    judgements = [_followed(lines, way, question) for way in ways if _is_comparable(way)]
    if not judgements:
        return None
    return max(judgements, key=lambda one: (one[1].wrong is None, one[0]))[1]


def _lines(reasoning: str, separator: str) -> list[str]:
    parts = reasoning.split(separator) if separator.strip() else [reasoning]
    lines = (_TAG.sub(" ", line).strip() for part in parts for line in part.splitlines())
    return [line for line in lines if line]


def _is_comparable(way: Worked) -> bool:
    return any(claim.kind not in _OPTIONAL for claim in _due(way))


def _due(way: Worked) -> list[_Claim]:
    return [claim for number, text in enumerate(way.steps, start=1) for claim in _claims(text, step=number)]


def _followed(lines: Sequence[str], way: Worked, question: str) -> tuple[int, Steps]:
    """How many of the claims that are due were met, and the judgement."""
    due = _due(way)
    known = {*numbers(question), *(number for text in way.steps for number in numbers(text))}
    known |= set(numbers(way.answer))
    claims = [claim for line in lines for claim in _claims(line)]
    is_shown = any(claim.kind != "numbers" and _is_of(claim, due) for claim in claims)
    met, stray = 0, None
    for claim in claims:
        known |= _made(claim)
        if claim.kind == "numbers":
            if not _numbers(claim) <= known:
                return met, Steps(is_shown, _wrong(claim, due, met))
            continue
        if not _is_of(claim, due):
            continue
        place = _place(claim, due, met)
        if place is not None and all(one.kind in _OPTIONAL for one in due[met:place]):
            met, stray = place + 1, None
            continue
        if place is None and _may_stand_between(claim, due[:met]):
            stray = stray or claim
            continue
        if not (claim.kind == "equation" and _by_another_way(lines, way, question)):
            return met, Steps(is_shown, _wrong(claim if stray is None else stray, due, met))
        return len(due), Steps(is_shown, None)
    missing = next((place for place in range(met, len(due)) if due[place].kind not in _OPTIONAL), None)
    if missing is None or not is_shown or _by_another_way(lines, way, question):
        return met, Steps(is_shown, None)
    found = None if stray is None else stray.text
    return met, Steps(is_shown, WrongStep(due[missing].step, due[missing].text, found))


def _may_stand_between(claim: _Claim, before: Sequence[_Claim]) -> bool:
    """A true equation more, or a step that stood before, said again."""
    is_true_equation = claim.kind == "equation" and not claim.is_false
    return is_true_equation or any(_same(claim, one) for one in before)


def _wrong(claim: _Claim, due: Sequence[_Claim], met: int) -> WrongStep:
    """The claim stands where the next of its kind was due, before any other that must stand."""
    for one in due[met:]:
        if one.kind == claim.kind or one.kind not in _OPTIONAL:
            return WrongStep(one.step, one.text, claim.text)
    step = due[-1].step + 1 if met == len(due) else due[met].step
    return WrongStep(step, None if met == len(due) else due[met].text, claim.text)


def _place(claim: _Claim, due: Sequence[_Claim], met: int) -> int | None:
    return next((place for place in range(met, len(due)) if _same(claim, due[place])), None)


def _same(one: _Claim, other: _Claim) -> bool:
    return one.kind == other.kind and one.key == other.key and not one.is_false


def _is_of(claim: _Claim, due: Sequence[_Claim]) -> bool:
    """Whether the question's steps have claims of that kind; of a label, under that label."""
    if claim.kind == "labelled":
        label = _label(claim)
        return any(one.kind == "labelled" and _label(one) == label for one in due)
    return any(one.kind == claim.kind for one in due)


def _label(claim: _Claim) -> str:
    assert isinstance(claim.key, tuple)
    return claim.key[0]


def _numbers(claim: _Claim) -> set[Fraction]:
    assert isinstance(claim.key, frozenset)
    return set(claim.key)


def _made(claim: _Claim) -> set[Fraction]:
    """The numbers that a true equation brings."""
    if claim.kind != "equation" or claim.is_false:
        return set()
    assert isinstance(claim.key, tuple)
    terms, result = claim.key
    return {result, *(number for _, number in terms)}


def _claims(line: str, *, step: int = 0) -> Iterator[_Claim]:
    """What a line claims, of one kind; several equations in their order."""
    found = list(equations(line))
    if found:
        for one in found:
            yield _Claim("equation", (one.terms, one.result), line, step, not one.is_true)
        return
    bare = _BULLET.sub("", line)
    label, colon, rest = bare.rpartition(":")
    content = (rest if colon else bare).strip().rstrip(".")
    said = re.sub(r"^.* (?:is|are) ", "", content)
    if _COUNTED.fullmatch(content):
        yield _Claim("counted", _BETWEEN.sub("", content), line, step)
    elif _LETTERS.fullmatch(said):
        yield _Claim("letters", _BETWEEN.sub("", said), line, step)
    elif colon and content:
        key = (label.strip().casefold(), _BETWEEN.sub("", content))
        yield _Claim("labelled", key, line, step)
    elif (verdict := _VERDICT.search(bare)) is not None:
        yield _Claim("verdict", verdict[1] is None, line, step)
    elif found_numbers := frozenset(numbers(bare)):
        yield _Claim("numbers", found_numbers, line, step)


def _by_another_way(lines: Sequence[str], way: Worked, question: str) -> bool:
    """Whether true equations lead from the question's numbers to the answer.

    Each calculates with numbers of the question, parts of these by place value, and results before it.
    """
    answer = numbers(way.answer)
    if len(answer) != 1 or re.search(r"[^\W\d_]", way.answer):
        return False
    known = _parts(question)
    goal = -answer[0] if way.answer.startswith("-") else answer[0]
    is_reached = False
    for one in (one for line in lines for one in equations(line)):
        if not one.is_true or not set(one.operands) <= known:
            return False
        known.add(one.result)
        is_reached |= one.result == goal
    return is_reached


def _parts(question: str) -> set[Fraction]:
    found = set(numbers(question))
    for number in list(found):
        if number.denominator == 1:
            digits = str(number)
            found |= {Fraction(int(digit) * 10**place) for place, digit in enumerate(reversed(digits))}
            found |= {Fraction(digit) for digit in map(int, digits)}
    if "%" in question:
        found |= {Fraction(100), *(number / 100 for number in numbers(question))}
    return found
