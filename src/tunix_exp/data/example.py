"""One example, whatever it was read from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Example:
    """A question with its worked steps and its answer; `place` is where it stands, as `file:line`.

    A conversation has `messages` too, as (role, text), whole: the last of them is the answer, and the one
    before it the question; roles are `system` (the first alone), `user` and `assistant`.
    """

    id: str
    question: str
    steps: tuple[str, ...]
    answer: str
    section: str | None
    category: str | None
    difficulty: str | None
    place: str
    messages: tuple[tuple[str, str], ...] = ()
