"""Which steps of a training fall due for a line."""

from collections.abc import Mapping, Sequence
from typing import Any


def is_logged(step: int, *, last: int, every: int) -> bool:
    """Whether the figures of `step` are written down: those of step 1, every n-th and the last are."""
    return step in (1, last) or step % every == 0


def logged_steps(*, after: int, last: int, every: int) -> list[int]:
    """The steps in (`after`, `last`] that are written down."""
    return [step for step in range(after + 1, last + 1) if is_logged(step, last=last, every=every)]


def every_nth(*, after: int, last: int, every: int | None) -> list[int]:
    """The steps in (`after`, `last`] that `every` divides; none without it."""
    return [] if every is None else [step for step in range(after + 1, last + 1) if step % every == 0]


def step_disagreement(rows: Sequence[Mapping[str, Any]], expected: list[int]) -> str | None:
    """How the steps of `rows` differ from `expected`; `None` when they are the same."""
    found = [row["step"] for row in rows]
    if found == expected:
        return None
    missing = sorted(set(expected) - set(found))
    extra = sorted(set(found) - set(expected))
    parts = [f"holds {len(found)} steps where {len(expected)} are due"]
    parts += [f"step {step} is missing" for step in missing[:1]]
    parts += [f"step {step} is not due" for step in extra[:1]]
    return "; ".join(parts)
