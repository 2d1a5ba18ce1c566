"""One example, whatever it was read from, and how its texts are compared and quoted."""

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


def normalised(question: str) -> str:
    """The question in lower case, its spacing as single blanks."""
    return " ".join(question.split()).casefold()


def shortened(text: str, most: int = 60) -> str:
    """The text, or its beginning, in quotes, its spacing as single blanks."""
    shown = " ".join(text.split())
    return repr(shown if len(shown) <= most else shown[: most - 1] + "…")
