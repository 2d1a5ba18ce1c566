"""One example, whatever it was read from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Example:
    """A question with its worked steps and its answer; `place` is where it stands, as `file:line`."""

    id: str
    question: str
    steps: tuple[str, ...]
    answer: str
    section: str | None
    category: str | None
    difficulty: str | None
    place: str
