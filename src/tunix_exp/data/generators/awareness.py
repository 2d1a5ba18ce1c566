"""Questions under which a trace is shown, right or with one slip, and the verdict that is due on it.

Which questions are held out follows from a hash of their numbers, before any row is made: all the ways to ask
one are on the same side. Each training question comes twice, with a right trace and with a faulty one; the
`half` lets an experiment take both of one question, or one of each.
"""

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from tunix_exp.data.generators import dev_reasoning, held_out, nano
from tunix_exp.data.generators.slips import KINDS, Kind, Slip, slipped, verdict

CLEAN = "clean"
_HELD_OUT_OF = 10  # one question of so many
_NANO_QUESTIONS, _DEV_QUESTIONS = 4_000, 600

Rows = list[dict[str, Any]]


class Sizes(NamedTuple):
    """How many items show a right trace, and how many a slip of each kind."""

    clean: int
    of_each_kind: int


class Posed(NamedTuple):
    """A question with its steps and its answer; `key` is the same for every way to ask it."""

    key: str
    question: str
    steps: tuple[str, ...]
    answer: str


def is_held_out(key: str) -> bool:
    """Whether the questions of this key are kept for evaluation."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()) % _HELD_OUT_OF == 0


def nano_total(draw: random.Random) -> Posed:
    """The sum of two amounts, in one of its wordings."""
    left, right = draw.randint(10, 99), draw.randint(10, 99)
    unit, wording = draw.choice(nano.UNITS), draw.randrange(len(nano.TOTALS))
    problem = nano.total(left, right, unit, wording)
    key = f"total {unit} {min(left, right)} {max(left, right)}"
    return Posed(key, problem.question, problem.steps, problem.answer)


def dev_problem(draw: random.Random) -> Posed:
    """A worked problem of one of the templates of `dev-reasoning-v2`."""
    number = draw.randrange(len(dev_reasoning.TEMPLATES))
    problem = dev_reasoning.TEMPLATES[number](draw)
    numbers = sorted(int(one) for one in _digits(problem.prompt))
    return Posed(
        f"template {number} {numbers}",
        problem.prompt,
        tuple(text for _, text in problem.steps),
        problem.answer,
    )


def nano_rows() -> Rows:
    """The training rows at toy size."""
    return _training(nano_total, random.Random(20_101), _NANO_QUESTIONS)


def nano_items() -> Rows:
    """The held-out items at toy size: 300."""
    return _items(nano_total, random.Random(20_102), Sizes(100, 50), "nano-slips-eval")


def dev_rows() -> Rows:
    """The training rows in whole sentences."""
    return _training(dev_problem, random.Random(20_103), _DEV_QUESTIONS)


def dev_items() -> Rows:
    """The held-out items in whole sentences: 200."""
    return _items(dev_problem, random.Random(20_104), Sizes(80, 30), "dev-slips-eval")


def _training(pose: Callable[[random.Random], Posed], draw: random.Random, count: int) -> Rows:
    return [
        {
            "question": _showing(posed, shown),
            "steps": [verdict(shown)],
            "answer": posed.answer,
            "slip": CLEAN if shown is None else shown.kind,
            "half": "ab"[number // len(KINDS) % 2],  # every kind in both
        }
        for number, (posed, slip) in enumerate(_with_slips(pose, draw, _in_turn(count), held_out=False))
        for shown in (None, slip)
    ]


def _items(pose: Callable[[random.Random], Posed], draw: random.Random, sizes: Sizes, name: str) -> Rows:
    # The questions under right traces are of those, too, in which a slip is possible.
    kinds = _in_turn(sizes.clean) + _in_turn(len(KINDS) * sizes.of_each_kind)
    made = _with_slips(pose, draw, kinds, held_out=True)
    shown = [(posed, slip if number >= sizes.clean else None) for number, (posed, slip) in enumerate(made)]
    return [
        {
            "id": f"{name}-{number:03d}",
            "prompt": _showing(posed, slip),
            "expected_answer": posed.answer,
            "category": CLEAN if slip is None else slip.kind,
            "steps": [verdict(slip)],
        }
        for number, (posed, slip) in enumerate(shown, start=1)
    ]


def _in_turn(count: int) -> list[Kind]:
    return [KINDS[number % len(KINDS)] for number in range(count)]


def _with_slips(
    pose: Callable[[random.Random], Posed], draw: random.Random, kinds: Iterable[Kind], *, held_out: bool
) -> Iterator[tuple[Posed, Slip]]:
    """For each kind a question of its own, and a slip of that kind in its steps."""
    seen: set[str] = set()
    for kind in kinds:
        while True:
            posed = pose(draw)
            if posed.key in seen or posed.question in _OTHER_SETS or is_held_out(posed.key) != held_out:
                continue
            if (slip := slipped(posed.steps, kind, draw)) is not None:
                break
        seen.add(posed.key)
        yield posed, slip


def _showing(posed: Posed, slip: Slip | None) -> str:
    return "\n".join((posed.question, *(posed.steps if slip is None else slip.steps)))


def _digits(text: str) -> list[str]:
    return "".join(one if one.isdigit() else " " for one in text).split()


_OTHER_SETS = frozenset(held_out.prompts())
