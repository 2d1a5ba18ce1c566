"""Problems whose traces end in a check that calculates again, and corrects where a step was wrong.

A row has its steps three times: as they are (`steps`), with a check under them (`restated`), and, in three
rows of ten, with one result miscalculated that the check corrects (`corrected`). Which questions are held out
follows from a hash of their numbers, before any row is made.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

from tunix_exp.data.generators import nano
from tunix_exp.data.generators.awareness import Posed, dev_problem, is_held_out
from tunix_exp.data.generators.held_out import prompts
from tunix_exp.data.generators.slips import calculations, corrected, slipped

_NANO_ROWS, _NANO_ITEMS, _DEV_ROWS = 3_000, 300, 400
_WRONG_OF_TEN = 3

Rows = list[dict[str, Any]]


def nano_sum(draw: random.Random) -> Posed:
    """The sum of two numbers of two digits."""
    left, right = draw.randint(10, 99), draw.randint(10, 99)
    problem = nano.add(left, right)
    key = f"sum {min(left, right)} {max(left, right)}"
    return Posed(key, problem.question, problem.steps, problem.answer)


def nano_rows() -> Rows:
    """The training rows at toy size."""
    return _training(nano_sum, random.Random(20_201), _NANO_ROWS)


def nano_items() -> Rows:
    """The held-out items at toy size: 300."""
    posed = _distinct(nano_sum, random.Random(20_202), held_out=True)
    return [
        {
            "id": f"nano-checks-eval-{number:03d}",
            "prompt": one.question,
            "expected_answer": one.answer,
            "steps": list(one.steps),
        }
        for number, one in zip(range(1, _NANO_ITEMS + 1), posed, strict=False)
    ]


def dev_rows() -> Rows:
    """The training rows in whole sentences."""
    return _training(dev_problem, random.Random(20_203), _DEV_ROWS)


def check(steps: tuple[str, ...], wrong: tuple[str, ...] | None = None) -> str:
    """The calculations of the right steps again; where the `wrong` ones say another result, that as well."""
    cited = []
    for place, step in enumerate(steps):
        if wrong is not None and wrong[place] != step:
            cited.append(corrected(step, wrong[place]))
        else:
            cited += [text for text, _, _ in calculations(step)]
    return f"Check: {'; '.join(cited)}"


def _training(pose: Callable[[random.Random], Posed], draw: random.Random, count: int) -> Rows:
    rows: Rows = []
    for number, posed in zip(range(count), _distinct(pose, draw, held_out=False), strict=False):
        restated = [*posed.steps, check(posed.steps)]
        slip = slipped(posed.steps, "arithmetic", draw) if number % 10 < _WRONG_OF_TEN else None
        with_correction = restated if slip is None else [*slip.steps, check(posed.steps, slip.steps)]
        rows.append(
            {
                "question": posed.question,
                "steps": list(posed.steps),
                "restated": restated,
                "corrected": with_correction,
                "answer": posed.answer,
            }
        )
    return rows


def _distinct(
    pose: Callable[[random.Random], Posed], draw: random.Random, *, held_out: bool
) -> Iterator[Posed]:
    """Questions of distinct keys on one side of the hash, none of them of another held-out set."""
    seen, elsewhere = set[str](), {*prompts(), *(row["prompt"] for row in nano.eval_rows())}
    while True:
        posed = pose(draw)
        if posed.key not in seen and is_held_out(posed.key) == held_out and posed.question not in elsewhere:
            seen.add(posed.key)
            yield posed
