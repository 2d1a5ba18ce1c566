"""From a question back to its worked steps: what the generators would write for it, computed again.

A question is one of theirs where the problem that is made of its numbers and words asks it, character for
character. Two generators may ask the same: then there are several ways to work it.
"""

import functools
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tunix_exp.data.generators import dev_problems as dev
from tunix_exp.data.generators import dev_reasoning, golden, nano
from tunix_exp.data.generators.slips import Slip, slip_between
from tunix_exp.data.generators.traces import Problem


class Worked(NamedTuple):
    """The steps that a generator computes for a question, and the answer that they lead to."""

    steps: tuple[str, ...]
    answer: str


_LONGEST = 600
_CENTS = 100
_TWO_DIGITS = range(10, 100)


def worked(question: str) -> tuple[Worked, ...]:
    """Every generator's way to work the question; none where no generator asks it."""
    if len(question) > _LONGEST:
        return ()
    made = [
        one
        for pattern, make in _FORMS
        if (found := pattern.fullmatch(question))
        for one in make(*found.groups())
    ]
    ways = [
        Worked(tuple(text for _, text in one.steps), one.answer) for one in made if one.prompt == question
    ]
    return tuple(dict.fromkeys([*ways, *_constant().get(question, ())]))


class Shown(NamedTuple):
    """A question under which a trace is shown, and the slip in that; None of a trace without one."""

    slip: Slip | None
    answer: str


def shown(question: str) -> Shown | None:
    """What a trace that stands under a question has for a slip, computed from the question.

    None where no trace is shown, no generator asks the question, or the trace has more than one slip.
    """
    asked, *steps = question.split("\n")
    if not steps:
        return None
    ways = worked(asked)
    for way in ways:
        if tuple(steps) == way.steps:
            return Shown(None, way.answer)
    found = [Shown(slip, way.answer) for way in ways if (slip := slip_between(steps, way.steps))]
    return found[0] if found else None


@functools.cache
def _constant() -> dict[str, tuple[Worked, ...]]:
    """The questions that stand in a generator as they are."""
    problems = [
        *golden.V1.values(),
        *(one for pair in dev_reasoning.v2_edge_cases().values() for one in pair),
    ]
    return {one.prompt: (Worked(tuple(text for _, text in one.steps), one.answer),) for one in problems}


def _of_nano(made: nano.Problem) -> Iterator[Problem]:
    yield Problem(made.question, tuple(("step", text) for text in made.steps), made.answer)


def _add(left: str, right: str) -> Iterator[Problem]:
    yield from _of_nano(nano.add(int(left), int(right)))


def _total(wording: int) -> Callable[..., Iterator[Problem]]:
    def problems(first: str, unit: str, second: str) -> Iterator[Problem]:
        pair = (second, first) if nano.TOTALS[wording].startswith("{right}") else (first, second)
        yield from _of_nano(nano.total(int(pair[0]), int(pair[1]), unit, wording))

    return problems


def _say(word: str, times: str) -> Iterator[Problem]:
    yield from _of_nano(nano.repeat(word, int(times)))


def _reverse(word: str) -> Iterator[Problem]:
    yield from _of_nano(nano.reverse(word))


def _sum(left: str, right: str) -> Iterator[Problem]:
    yield golden.sum_of_two(int(left), int(right))
    if int(left) in _TWO_DIGITS and int(right) in _TWO_DIGITS:
        yield dev.addition(int(left), int(right))


def _difference(left: str, right: str) -> Iterator[Problem]:
    if int(left) in _TWO_DIGITS and int(right) in _TWO_DIGITS:
        yield dev.subtraction(int(left), int(right))


def _product(left: str, right: str) -> Iterator[Problem]:
    if int(left) in _TWO_DIGITS and 1 < int(right) < min(_TWO_DIGITS):
        yield dev.multiplication(int(left), int(right))


def _share(percent: str, whole: str) -> Iterator[Problem]:
    if int(percent) * int(whole) % _CENTS == 0 and int(percent) * int(whole) > 0:
        yield dev.percentage(int(percent), int(whole))


def _price(count: str, total: str) -> Iterator[Problem]:
    if int(count) and _CENTS * int(total) % int(count) == 0:
        yield dev.unit_cost(int(count), int(total))


def _rule(which: str, plural: str, trait: str, member: str, kind: str) -> Iterator[Problem]:
    yield dev.logic(plural, kind, member, trait, is_so=which == "All")


def _one(make: Callable[..., Problem]) -> Callable[..., Iterator[Problem]]:
    """Of a problem that takes the question's words and numbers as they come, all of them."""

    def problems(*found: str) -> Iterator[Problem]:
        yield make(*(int(one) if one.isascii() and one.isdigit() else one for one in found))

    return problems


_FORMS: tuple[tuple[re.Pattern[str], Callable[..., Iterator[Problem]]], ...] = tuple(
    (re.compile(pattern), make)
    for pattern, make in (
        (r"Add ([1-9]?[0-9]) and ([1-9]?[0-9])", _add),
        *(
            (rf"([1-9][0-9]) ({'|'.join(nano.UNITS)}) {re.escape(word)} ([1-9][0-9]) \2", _total(wording))
            for wording, word in enumerate(("+", "and", "after"))
        ),
        (r"Say ([a-z]+) ([2-4]) times", _say),
        (r"Reverse ([a-z]+)", _reverse),
        (r"What is ([0-9]{1,4}) \+ ([0-9]{1,4})\?", _sum),
        (r"What is ([0-9]{1,4}) - ([0-9]{1,4})\?", _difference),
        (r"What is ([0-9]{1,4}) \* ([0-9]{1,4})\?", _product),
        (r"What is ([0-9]{1,3})% of ([0-9]{1,6})\?", _share),
        (r"([0-9]{1,4}) items cost \$([0-9]{1,6}) in total\. What does one item cost, in dollars\?", _price),
        (
            r"A ([a-z]+) drives at ([0-9]{1,4}) km/h for ([0-9]{1,4}) hours\."
            r" How many kilometers does it cover\?",
            _one(dev.distance),
        ),
        (r"Compute ([0-9]{1,4}) \+ ([0-9]{1,4}) - ([0-9]{1,4})\.", _one(dev.arithmetic)),
        (r"Reverse the string '(\w+)'\.", _one(dev.string_reverse)),
        (r"Sort the letters '([A-Z]+)' in alphabetical order\.", _one(dev.string_sort)),
        (r"Write the word '([a-z]+)' ([0-9]) times, with blanks between\.", _one(dev.text_repeat)),
        (r"Repeat the word '([a-z]+)' ([0-9]) times\.", _one(golden.repeated)),
        (r"How many words are in '([a-z ]+)'\?", lambda words: iter((dev.word_count(words.split(" ")),))),
        (r"Write '([a-z ]+)' in upper case\.", _one(dev.uppercase)),
        (
            r"(All|No) ([a-z ]+?) ([a-z ]+)\. An? ([a-z ]+) is an? ([a-z ]+)\. Does an? \4 \3\?"
            r" Answer Yes or No\.",
            _rule,
        ),
    )
)
