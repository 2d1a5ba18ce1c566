"""What became of an answer: right, or wrong in one of the ways that rules tell apart.

The first class that fits is an answer's, in the order of `CLASSES`. The answer key decides between right and
wrong alone: the steps that are due are computed from the question.
"""

import dataclasses
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tunix_exp.data.generators.questions import worked
from tunix_exp.errors import UserError
from tunix_exp.scoring.extract import LONGEST_OUTPUT, without_ends
from tunix_exp.scoring.form import Form
from tunix_exp.scoring.marks import marks
from tunix_exp.scoring.steps import Steps, WrongStep, judged
from tunix_exp.scoring.stop import answered

Class = Literal[
    "right",
    "right_answer_wrong_steps",
    "repetition",
    "cut_off",
    "no_answer",
    "wrong_format",
    "wrong_step",
    "right_steps_wrong_answer",
    "wrong_answer",
]
CLASSES: tuple[Class, ...] = get_args(Class)

_LEAST_ROWS = 3
_LEAST_TIMES = {True: 4, False: 8}
_LEAST_CHARACTERS = 12
_LEAST_SHARE = 1 / 3
_LONGEST_UNIT = 80
_TYPES: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "are_steps_computed": (bool,),
    "step": (int, type(None)),
    "expected": (str, type(None)),
    "found": (str, type(None)),
}


@dataclass(frozen=True, slots=True)
class Writing:
    """How answers are written: the texts that end one, the form that was taught, what parts the steps."""

    stop: Sequence[str]
    form: Form | None
    step_separator: str


@dataclass(frozen=True, slots=True)
class Classification:
    """The class of an answer, and the first wrong step where there is one.

    `are_steps_computed` says whether the steps that are due could be computed from the question. `step`
    counts them from 1; `expected` is None where no step was due any more, `found` where none stands there.
    """

    name: Class
    are_steps_computed: bool
    step: int | None
    expected: str | None
    found: str | None

    def to_dict(self) -> dict[str, Any]:
        """The fields in their order, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, row: Any, *, where: str) -> "Classification":
        """What `row` spells; a `UserError` names every key that is missing, unknown or of another type."""
        is_row = isinstance(row, Mapping) and set(row) == set(_TYPES)
        if not is_row or any(type(row[key]) not in types for key, types in _TYPES.items()):
            raise UserError(
                f"not a classification: {row!r:.120}", where=where, remedy=f"it has exactly {_KEYS}"
            )
        if row["name"] not in CLASSES:
            raise UserError(
                f"no class of answers is called {row['name']!r:.60}",
                where=where,
                remedy="a class is one of " + ", ".join(CLASSES),
            )
        return cls(**row)


_KEYS = ", ".join(_TYPES)


def classified(
    output: str, *, question: str, extracted: str | None, correct: bool, stop_reason: str, writing: Writing
) -> Classification:
    """The class of the answer that was extracted from `output`, and is right or not."""
    text = without_ends(answered(output, writing.stop))[-LONGEST_OUTPUT:]
    steps = _steps(text, question, writing.step_separator)
    wrong = None if steps is None else steps.wrong
    if correct:
        name = "right" if wrong is None else "right_answer_wrong_steps"
    else:
        name = _wrong(text, extracted, stop_reason, writing.form, steps)
    shown = wrong if name in ("right_answer_wrong_steps", "wrong_step") else None
    return _classification(name, shown, are_steps_computed=steps is not None)


# An answer is judged when it is given, and again when its run is verified.
@functools.lru_cache(maxsize=4_096)
def _steps(text: str, question: str, separator: str) -> Steps | None:
    return judged(_before_the_answer(text), worked(question), question, separator)


def _classification(name: Class, wrong: WrongStep | None, *, are_steps_computed: bool) -> Classification:
    if wrong is None:
        return Classification(name, are_steps_computed, None, None, None)
    return Classification(name, are_steps_computed, wrong.step, wrong.expected, wrong.found)


def _wrong(
    text: str, extracted: str | None, stop_reason: str, form: Form | None, steps: Steps | None
) -> Class:
    if is_loop(text, is_cut_off=stop_reason == "length"):
        return "repetition"
    if stop_reason == "length":
        return "cut_off"
    if extracted is None:
        return "no_answer"
    if form is not None and not form.fits(text):
        return "wrong_format"
    if steps is None or not steps.is_shown:
        return "wrong_answer"
    return "right_steps_wrong_answer" if steps.wrong is None else "wrong_step"


def is_loop(text: str, *, is_cut_off: bool) -> bool:
    """Whether the text goes in circles: a line three times in a row, or one piece over and over at its end.

    The piece stands there four times where the text did not end by itself, else eight times, and takes twelve
    characters and a third of the text, of a long one a third of its last 1,600 characters.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    rows = zip(*(lines[place:] for place in range(_LEAST_ROWS)), strict=False)
    if any(len(set(some)) == 1 for some in rows):
        return True
    tail = text[-20 * _LONGEST_UNIT :]
    return any(_is_tail(tail, size, is_cut_off=is_cut_off) for size in range(1, _LONGEST_UNIT + 1))


def _is_tail(tail: str, size: int, *, is_cut_off: bool) -> bool:
    """Whether the text ends with one piece of `size` over and over; a last one may be cut."""
    same = 0
    while same + size < len(tail) and tail[-1 - same] == tail[-1 - same - size]:
        same += 1
    whole = same + size
    is_long = whole >= max(_LEAST_CHARACTERS, len(tail) * _LEAST_SHARE)
    return is_long and whole >= size * _LEAST_TIMES[is_cut_off]


def _before_the_answer(text: str) -> str:
    """The text up to the mark of the answer; all of it where there is none."""
    found = marks(text)
    return text[: found[-1].begin] if found else text


def counted(classifications: Sequence[Classification]) -> dict[str, Any]:
    """How many answers are of each class, and of how many items the steps were computed."""
    counts = Counter(one.name for one in classifications)
    return {
        "n_steps_computed": sum(one.are_steps_computed for one in classifications),
        "counts": {name: counts[name] for name in CLASSES},
    }
