"""Answers made by hand-written rules of how models fail, each with its class and its wrong step.

An answer begins as the trace of a row of a shipped set and gets one fault. The answer key of the row stays.
"""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tunix_exp.data.generators.sets import SETS
from tunix_exp.scoring.classes import Class
from tunix_exp.scoring.form import Form

FORM = Form("{reasoning}\nAnswer: {answer}", "Answer: {answer}")


@dataclass(frozen=True)
class Row:
    """A row of a set, whichever it is."""

    question: str
    steps: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class Made:
    """An answer with a fault: what must be said of it."""

    rule: str
    question: str
    key: str
    output: str
    stop_reason: str
    due: Class
    step: int | None = None
    expected: str | None = None
    found: str | None = None


def _row(row: dict[str, Any]) -> Row:
    steps = tuple(one if isinstance(one, str) else one["content"] for one in row["steps"])
    return Row(row["question"] if "question" in row else row["prompt"], steps, _answer(row))


def _answer(row: dict[str, Any]) -> str:
    (key,) = [name for name in ("answer", "expected_answer", "final_answer") if name in row]
    return row[key]


def _written(steps: tuple[str, ...], answer: str) -> str:
    return "\n".join([*steps, f"Answer: {answer}"])


def _calculated(row: Row) -> list[int]:
    """The places of the steps with an equation."""
    return [place for place, text in enumerate(row.steps) if re.search(r"\d ?[-+*/] ?\d[^=]*=", text)]


def _changed(row: Row, place: int, text: str) -> tuple[str, ...]:
    return (*row.steps[:place], text, *row.steps[place + 1 :])


def _other_answer(row: Row, draw: random.Random) -> str:
    if re.fullmatch(r"-?\d+(\.\d+)?", row.answer):
        return str(float(row.answer) + draw.randint(1, 9)).removesuffix(".0")
    return {"Yes": "No", "No": "Yes"}.get(row.answer, row.answer + draw.choice("kqz"))


def _truncated(row: Row, draw: random.Random) -> Made:
    whole = _written(row.steps, row.answer)
    output = whole[: draw.randint(1, whole.rindex("Answer"))]
    return Made("truncated", row.question, "∅", output, "length", "cut_off")


def _repeated_line(row: Row, draw: random.Random) -> Made:
    output = "\n".join([*row.steps[:1], *[draw.choice(row.steps)] * draw.randint(3, 9)])
    ended = draw.choice(("length", "eos"))
    return Made("repeated line", row.question, "∅", output, ended, "repetition")


def _stuck(row: Row, draw: random.Random) -> Made:
    piece = draw.choice(("the ", "n o ", "\n", "Answer: ", "9+", row.steps[0] + " "))
    output = row.steps[0][:6] + piece * max(12, 24 // len(piece))
    return Made("stuck", row.question, "∅", output[: -draw.randint(1, len(piece))], "length", "repetition")


def _silent(row: Row, draw: random.Random) -> Made:
    output = draw.choice(("", " ", "\n", "\n\n", "<|endoftext|>"))
    return Made("silent", row.question, row.answer, output, "eos", "no_answer")


def _wrong_form(row: Row, draw: random.Random) -> Made:
    other = _other_answer(row, draw)
    steps, line = "\n".join(row.steps), f"Answer: {other}"
    output = draw.choice(
        (f"{steps}\n#### {other}", f"{steps}\n{line}\n{line}", f"{steps}\n<answer>{other}</answer>")
    )
    return Made("wrong form", row.question, row.answer, output, "eos", "wrong_format")


def _right_steps(row: Row, draw: random.Random) -> Made:
    output = _written(row.steps, _other_answer(row, draw))
    return Made("answer miscopied", row.question, row.answer, output, "eos", "right_steps_wrong_answer")


def _no_steps(row: Row, draw: random.Random) -> Made:
    output = f"Answer: {_other_answer(row, draw)}"
    return Made("no steps", row.question, row.answer, output, "eos", "wrong_answer")


def _misjudged(row: Row, draw: random.Random, *, is_right: bool) -> Made:
    """The result of one equation is another number."""
    place = draw.choice(_calculated(row))
    before, sign, result = row.steps[place].rpartition("=")
    digits = re.search(r"\d+", result)
    assert digits is not None
    slip = str(int(digits[0]) + draw.randint(1, 7))
    return _with_step(
        row, draw, place, before + sign + result.replace(digits[0], slip, 1), "arithmetic", is_right
    )


def _swapped(row: Row, draw: random.Random) -> Made | None:
    """The digits of one number stand in the other order."""
    places = [
        (place, found)
        for place in _calculated(row)
        for found in re.finditer(r"(?<!\d)\d\d(?!\d)", row.steps[place])
    ]
    places = [(place, found) for place, found in places if found[0][0] != found[0][1] and found[0][1] != "0"]
    if not places:
        return None
    place, found = draw.choice(places)
    text = row.steps[place]
    return _with_step(
        row, draw, place, text[: found.start()] + found[0][::-1] + text[found.end() :], "swapped", False
    )


def _miscopied(row: Row, draw: random.Random, *, is_right: bool) -> Made | None:
    """Two letters of a spelled word stand in the other order, or one is another."""
    places = [place for place, text in enumerate(row.steps) if re.fullmatch(r"(?:.*: )?\S(?: \S)+", text)]
    place = draw.choice(places)
    head, colon, spelled = row.steps[place].rpartition(": ")
    letters = spelled.split()
    at = draw.randrange(len(letters))
    letters[at] = draw.choice([other for other in "abcxyz" if other != letters[at]])
    return _with_step(row, draw, place, head + colon + " ".join(letters), "letters", is_right)


def _with_step(row: Row, draw: random.Random, place: int, text: str, rule: str, is_right: bool) -> Made:
    output = _written(_changed(row, place, text), row.answer if is_right else _other_answer(row, draw))
    due: Class = "right_answer_wrong_steps" if is_right else "wrong_step"
    return Made(rule, row.question, row.answer, output, "eos", due, place + 1, row.steps[place], text)


def _dropped(row: Row, draw: random.Random) -> Made:
    """The last step is not there."""
    output = _written(row.steps[:-1], _other_answer(row, draw))
    return Made(
        "dropped", row.question, row.answer, output, "eos", "wrong_step", len(row.steps), row.steps[-1], None
    )


def _in_other_words(row: Row, draw: random.Random) -> Made:
    """Right steps with more around them, and spaced otherwise."""
    lead = draw.choice(("So ", "First: ", "I get ", "- ", "1. "))
    words = tuple(lead + re.sub(r" ?([-+*=]) ?", r" \1 ", text) for text in row.steps)
    return Made("other words", row.question, row.answer, _written(words, row.answer), "eos", "right")


def made(seed: int, each: int) -> Iterator[Made]:
    """So many answers of every rule, from rows that the seed draws."""
    draw = random.Random(seed)
    rows = [_row(row) for name in ("nano-eval", "golden-v2", "dev-reasoning-v2") for row in SETS[name]()]
    rows = [row for row in rows if not _is_odd(row)]
    sums = [row for row in rows if len(_calculated(row)) == len(row.steps)]
    words = [row for row in rows if re.match(r"Reverse |Sort ", row.question)]
    columns = [row for row in sums if row.question.startswith("Add ")]
    rules: list[tuple[Callable[..., Made | None], list[Row], dict[str, bool]]] = [
        (_truncated, rows, {}),
        (_repeated_line, rows, {}),
        (_stuck, rows, {}),
        (_silent, rows, {}),
        (_wrong_form, rows, {}),
        (_right_steps, rows, {}),
        (_no_steps, rows, {}),
        (_misjudged, sums, {"is_right": False}),
        (_misjudged, sums, {"is_right": True}),
        (_swapped, sums, {}),
        (_miscopied, words, {"is_right": False}),
        (_miscopied, words, {"is_right": True}),
        (_dropped, columns, {}),
        (_in_other_words, sums, {}),
    ]
    for rule, of, options in rules:
        found = 0
        while found < each:
            one = rule(draw.choice(of), draw, **options)
            if one is not None:
                found += 1
                yield one


def _is_odd(row: Row) -> bool:
    """A row that has no equation and no word to spell: its steps are words."""
    return not _calculated(row) and not re.match(r"Reverse |Sort |Say ", row.question)
