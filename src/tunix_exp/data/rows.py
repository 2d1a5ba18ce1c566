"""One row of a source as an example, read strictly."""

import re
from typing import Any

from tunix_exp.data.config import FieldsConfig
from tunix_exp.data.example import Example
from tunix_exp.errors import did_you_mean, nearest
from tunix_exp.json_text import printable

_CALCULATOR_MARK = re.compile(r"<<[^<>\n]*>>")
_MISSING = object()


class BadRow(Exception):
    """A row cannot be an example; carries what is wrong and the remedy."""

    def __init__(self, what: str, remedy: str) -> None:
        """Keep both parts."""
        super().__init__(what)
        self.what = what
        self.remedy = remedy


def example_of(record: Any, place: str, unnamed_id: str, fields: FieldsConfig, key: str) -> Example:
    """The row as an example; raises BadRow. Without an id field its id is `unnamed_id`."""
    if not isinstance(record, dict):
        raise BadRow(f"the row is {_kind(record)}, not an object", "write one JSON object on each line")
    answer = _text(record, "answer", fields.answer, key)
    if fields.answer_marker is not None:
        steps, answer = _parted(answer, fields.answer, fields.answer_marker)
    elif fields.reasoning is not None:
        steps = _steps(record, fields.reasoning, key)
    else:
        steps = ()
    if fields.strip_calculator_marks:
        steps = tuple(_CALCULATOR_MARK.sub("", step) for step in steps)
    return Example(
        id=unnamed_id if fields.id is None else _id(record, fields.id, key),
        question=_text(record, "question", fields.question, key),
        steps=steps,
        answer=answer,
        section=_label(record, "section", fields.section, key),
        category=_label(record, "category", fields.category, key),
        difficulty=_label(record, "difficulty", fields.difficulty, key),
        place=place,
    )


def _parted(worked: str, field: str, marker: str) -> tuple[tuple[str, ...], str]:
    """The lines before the marker, and the text after it."""
    count = worked.count(marker)
    if count != 1:
        raise BadRow(
            f"the marker {marker!r} stands {count} times in `{field}`, not once",
            f"write the answer once, after {marker}",
        )
    reasoning, answer = worked.split(marker)
    if not answer.strip():
        raise BadRow(
            f"after the marker {marker!r} in `{field}` stands nothing", f"write the answer after {marker}"
        )
    return _lines(reasoning), answer.strip()


def _steps(record: dict[str, Any], field: str, key: str) -> tuple[str, ...]:
    """The reasoning: a list of texts, a list of objects with `content`, or one text, by lines."""
    value = _value(record, "reasoning", field, key)
    if isinstance(value, str):
        _refuse_half_characters(value, field)
        return _lines(value)
    remedy = "write a list of texts, a list of objects with a text `content`, or one text"
    if not isinstance(value, list):
        raise BadRow(f"`{field}` is {_kind(value)}, not steps", remedy)
    steps: list[str] = []
    for number, step in enumerate(value, start=1):
        content = step.get("content", _MISSING) if isinstance(step, dict) else step
        if not isinstance(content, str):
            shown = "an object without `content`" if content is _MISSING else _kind(content)
            raise BadRow(f"step {number} of `{field}` is {shown}, not a text", remedy)
        if not content.strip():
            raise BadRow(f"step {number} of `{field}` is empty", "write the step or take it out")
        _refuse_half_characters(content, field)
        steps.append(content)
    return tuple(steps)


def _lines(text: str) -> tuple[str, ...]:
    """The lines between the first and the last that hold something, unchanged."""
    return tuple(text.strip().split("\n")) if text.strip() else ()


def _text(record: dict[str, Any], part: str, field: str, key: str) -> str:
    value = _value(record, part, field, key)
    if not isinstance(value, str):
        raise BadRow(f"`{field}` is {_kind(value)}, not a text", f'write the {part} in quotes, as "…"')
    if not value.strip():
        raise BadRow(f"`{field}` is empty", f"write the {part} or take the row out")
    _refuse_half_characters(value, field)
    return value


def _label(record: dict[str, Any], part: str, field: str | None, key: str) -> str | None:
    if field is None:
        return None
    value = _value(record, part, field, key)
    if value is not None and (not isinstance(value, str) or not value):
        shown = "empty" if value == "" else f"{_kind(value)}, not a text"
        raise BadRow(f"`{field}` is {shown}", f"write the {part} as a text, or null")
    if value is not None:
        _refuse_half_characters(value, field)
    return value


def _id(record: dict[str, Any], field: str, key: str) -> str:
    value = _value(record, "id", field, key)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not is_number and (not isinstance(value, str) or not value.strip()):
        shown = "empty" if isinstance(value, str) else f"{_kind(value)}, not a text or whole number"
        raise BadRow(
            f"`{field}` is {shown}", f"give the row an id, or set {key}.fields.id=null to number the rows"
        )
    _refuse_half_characters(str(value), field)
    return str(value)


def has_field(record: Any, field: str) -> bool:
    """Whether the row has something under the name, be it null."""
    try:
        _value(record if isinstance(record, dict) else {}, "", field, "")
    except BadRow:
        return False
    return True


def _value(record: dict[str, Any], part: str, field: str, key: str) -> Any:
    """The value of `field`, a dot reaching into an object; a name with a dot in it comes first."""
    value: Any = record
    for name in [field] if field in record else field.split("."):
        if not isinstance(value, dict) or name not in value:
            known = [printable(str(known)) for known in record]
            near = did_you_mean(nearest(field, known))
            raise BadRow(
                f"the field `{field}` is missing; the row has {', '.join(known)}{near}",
                f"name the row's own field in {key}.fields.{part}",
            )
        value = value[name]
    return value


def _refuse_half_characters(text: str, field: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadRow(
            f"`{field}` holds half a character, \\u{ord(text[error.start]):04x}",
            "write both halves of the surrogate pair, or the character itself",
        ) from error


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a truth value"
        case int() | float():
            return f"the number {value}"
        case str():
            return "a text"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return f"a {type(value).__name__}"
