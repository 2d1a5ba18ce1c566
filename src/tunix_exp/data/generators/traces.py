"""The canonical trace: a prompt, typed steps, a final answer, and where they came from."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Problem(NamedTuple):
    """A question, its steps as (type, content), and its answer."""

    prompt: str
    steps: tuple[tuple[str, str], ...]
    answer: str


def trace(problem: Problem, meta: dict[str, Any]) -> dict[str, Any]:
    """The problem as a row of the canonical format, version 1.0."""
    return {
        "trace_version": "1.0",
        "prompt": problem.prompt,
        "final_answer": problem.answer,
        "steps": [
            {"i": number, "type": kind, "content": content}
            for number, (kind, content) in enumerate(problem.steps)
        ],
        "meta": meta,
    }


def in_decimals(hundredths: int) -> str:
    """The number as written by hand: 3150 is 31.5, 1200 is 12."""
    whole, part = divmod(hundredths, 100)
    return f"{whole}.{part:02d}".rstrip("0") if part else str(whole)


def distinct(make: Callable[[], Problem], count: int, taken: Sequence[str]) -> list[Problem]:
    """The first `count` problems that `make` draws, no prompt twice and none of the `taken` ones."""
    seen = set(taken)
    problems: list[Problem] = []
    while len(problems) < count:
        problem = make()
        if problem.prompt not in seen:
            seen.add(problem.prompt)
            problems.append(problem)
    return problems
