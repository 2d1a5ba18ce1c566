"""Which steps of a training fall due for a line."""

from collections.abc import Iterator, Mapping, Sequence
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


def wrong_steps(rows: Sequence[Mapping[str, Any]], expected: list[int]) -> Iterator[str]:
    """How the steps of `rows` differ from `expected`; nothing when they are the same."""
    found = [row["step"] for row in rows]
    if found != expected:
        parts = [f"holds {len(found)} steps where {len(expected)} are due"]
        parts += [f"step {step} is missing" for step in sorted(set(expected) - set(found))[:1]]
        parts += [f"step {step} is not due" for step in sorted(set(found) - set(expected))[:1]]
        yield "; ".join(parts)
