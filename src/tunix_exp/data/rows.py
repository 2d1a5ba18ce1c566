"""One row of a source as an example, read strictly."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tunix_exp.data.config import FieldsConfig
from tunix_exp.data.conversation import messages_of
from tunix_exp.data.example import Example
from tunix_exp.data.reading.part import BadRow
from tunix_exp.data.reading.values import Number, kind_of
from tunix_exp.errors import did_you_mean, nearest
from tunix_exp.json_text import printable

_CALCULATOR_MARK = re.compile(r"<<[^<>\n]*>>")
_MISSING = object()
Labels = tuple[str | None, str | None, str | None]
_LABELS = ("section", "category", "difficulty")


class RowReader:
    """Rows to examples by the names of their fields; `counts` is what was read in another form than it has.

    A field is of one kind in all rows: texts, numbers or truth values; the first row decides. A part whose
    name ends in `?` is in all rows or in none.
    """

    def __init__(self, fields: FieldsConfig, key: str) -> None:
        """Of these fields; `key` is the config group that errors name."""
        self._key = key
        self._names = {
            part: name
            for part, name in fields.model_dump().items()
            if isinstance(name, str) and part not in ("answer_marker", "strip_calculator_marks")
        }
        self._optional = [part for part, name in self._names.items() if name.endswith("?")]
        self._names = {part: name.removesuffix("?") for part, name in self._names.items()}
        self._marker, self._strips = fields.answer_marker, fields.strip_calculator_marks
        self._kinds: dict[str, tuple[str, str]] = {}
        self._places: dict[str, dict[bool, str]] = {part: {} for part in self._optional}
        self._has_labels = any(label in self._names for label in _LABELS)
        self.counts: Counter[str] = Counter()
        self.unread: Counter[str] = Counter()
        self._read = frozenset(name.split(".")[0] for name in self._names.values()) | frozenset(
            self._names.values()
        )

    @property
    def names(self) -> dict[str, str]:
        """The field of each part, by part."""
        return {part: name for part, name in self._names.items() if name not in self.absent}

    @property
    def absent(self) -> tuple[str, ...]:
        """The names of the optional fields that no row had, once all were read."""
        return tuple(self._names[part] for part, places in self._places.items() if True not in places)

    def example(self, record: Any, place: str, unnamed_id: str) -> Example:
        """The row as an example; raises BadRow. Without an id field its id is `unnamed_id`."""
        if not isinstance(record, dict):
            raise BadRow(f"the row is {kind_of(record)}, not an object", "write one JSON object on each line")
        if not self._read >= record.keys():
            self.unread.update(record.keys() - self._read)
        name = self._id(record, place) if "id" in self._names else unnamed_id
        labels = self._labels(record, place)
        if "text" in self._names:
            return Example(name, "", (), self._text(record, "text", place), *labels, place=place)
        if "messages" in self._names:
            return self._conversation(self._value(record, "messages", place), name, labels, place)
        question = self._value(record, "question", place)
        if isinstance(question, list):
            answer = self._value(record, "answer", place)
            answered = answer if isinstance(answer, list) else [{"role": "assistant", "content": answer}]
            return self._conversation([*question, *answered], name, labels, place)
        question = self._as_text(question, "question", place)
        if "input" in self._names and (more := self._optional_text(record, "input", place)):
            question = f"{question}\n\n{more}"
        answer = self._text(record, "answer", place)
        if self._marker is not None:
            steps, answer = _parted(answer, self._names["answer"], self._marker)
        elif "reasoning" in self._names:
            steps = self._steps(record, place)
        else:
            steps = ()
        if self._strips:
            steps = tuple(_CALCULATOR_MARK.sub("", step) for step in steps)
        return Example(name, question, steps, answer, *labels, place=place)

    def _conversation(self, value: Any, name: str, labels: Labels, place: str) -> Example:
        messages = messages_of(value, self._names.get("messages", "prompt"), self.counts)
        question = messages[-2][1]
        return Example(name, question, (), messages[-1][1], *labels, place=place, messages=messages)

    def _steps(self, record: dict[str, Any], place: str) -> tuple[str, ...]:
        """The reasoning: a list of texts, a list of objects with `content`, or one text, by lines."""
        field = self._names["reasoning"]
        value = self._value(record, "reasoning", place)
        if value is None or value is _MISSING:
            return ()
        if isinstance(value, str):
            return _lines(self._as_text(value, "reasoning", place, may_be_empty=True))
        remedy = "write a list of texts, a list of objects with a text `content`, or one text"
        if not isinstance(value, list):
            raise BadRow(f"`{field}` is {kind_of(value)}, not steps", remedy)
        self._is_of_one_kind("reasoning", "a list", place)
        steps: list[str] = []
        for number, step in enumerate(value, start=1):
            content = step.get("content", _MISSING) if isinstance(step, dict) else step
            if not isinstance(content, str) or isinstance(content, Number):
                shown = "an object without `content`" if content is _MISSING else kind_of(content)
                raise BadRow(f"step {number} of `{field}` is {shown}, not a text", remedy)
            if not content.strip():
                raise BadRow(f"step {number} of `{field}` is empty", "write the step or take it out")
            _refuse_half_characters(content, field)
            steps.append(content)
        return tuple(steps)

    def _text(self, record: dict[str, Any], part: str, place: str) -> str:
        return self._as_text(self._value(record, part, place), part, place)

    def _as_text(self, value: Any, part: str, place: str, *, may_be_empty: bool = False) -> str:
        """The value as the text that it is, or in which it is written; of one kind in all rows."""
        field = self._names[part]
        if type(value) is str:
            kind = "a text"
        elif type(value) is Number:
            kind = "a number"
            self.counts[f"numbers_as_text.{part}"] += 1
        elif isinstance(value, bool):
            kind, value = "a truth value", str(value).lower()
            self.counts[f"truth_values_as_text.{part}"] += 1
        elif value is None:
            raise BadRow(f"`{field}` is null, not a text", f"write the {part} or take the row out")
        else:
            raise BadRow(f"`{field}` is {kind_of(value)}, not a text", f'write the {part} in quotes, as "…"')
        if not value or value.isspace():
            if may_be_empty:
                self.counts[f"empty.{part}"] += 1
                return ""
            raise BadRow(f"`{field}` is empty", f"write the {part} or take the row out")
        self._is_of_one_kind(part, kind, place)
        if not value.isascii():
            _refuse_half_characters(value, field)
        return str(value)

    def _is_of_one_kind(self, part: str, kind: str, place: str) -> None:
        first = self._kinds.setdefault(part, (kind, place))
        if first[0] != kind:
            raise BadRow(
                f"`{self._names[part]}` is {kind}, and {first[0]} at {first[1]}",
                f"write the {part} in the same way in all rows",
            )

    def _optional_text(self, record: dict[str, Any], part: str, place: str) -> str:
        """The text, or an empty one where the row has null, an empty text, or no such field as no row has."""
        value = self._value(record, part, place)
        if value is None or value is _MISSING:
            return ""
        return self._as_text(value, part, place, may_be_empty=True)

    def _labels(self, record: dict[str, Any], place: str) -> Labels:
        if not self._has_labels:
            return None, None, None
        section, category, difficulty = (
            (self._optional_text(record, label, place) or None) if label in self._names else None
            for label in _LABELS
        )
        return section, category, difficulty

    def _id(self, record: dict[str, Any], place: str) -> str:
        field = self._names["id"]
        value = self._value(record, "id", place)
        is_text = isinstance(value, str) and value.strip() and ("." not in value or type(value) is not Number)
        if not is_text:
            shown = "empty" if type(value) is str else f"{kind_of(value)}, not a text or whole number"
            remedy = f"give the row an id, or set {self._key}.fields.id=null to number the rows"
            raise BadRow(f"`{field}` is {shown}", remedy)
        self._is_of_one_kind("id", "a number" if type(value) is Number else "a text", place)
        _refuse_half_characters(value, field)
        return str(value)

    def _value(self, record: dict[str, Any], part: str, place: str) -> Any:
        """The value of the part's field; `_MISSING` where an optional one is in no row up to this."""
        field = self._names[part]
        found = value_at(record, field)
        if part in self._optional:
            places = self._places[part]
            places.setdefault(found is not _MISSING, place)
            if len(places) == 2:
                here, there = ("is missing", "stands") if found is _MISSING else ("stands", "is missing")
                raise BadRow(
                    f"the field `{field}` {here} here, and {there} at {places[found is _MISSING]}",
                    f"write null in rows that have no {part}, or set {self._key}.fields.{part}=null",
                )
        elif found is _MISSING:
            known = [printable(str(known)) for known in record]
            near = did_you_mean(nearest(field, known))
            raise BadRow(
                f"the field `{field}` is missing; the row has {', '.join(known)}{near}",
                f"name the rows' own field in {self._key}.fields.{part}; where the row alone has no {part},"
                " write it or take the row out",
            )
        return found


def is_missing(value: Any) -> bool:
    """Whether `value_at` found nothing, not even null."""
    return value is _MISSING


def value_at(record: Mapping[str, Any], field: str) -> Any:
    """The value of `field`, a dot reaching into an object; a name with a dot in it comes first."""
    if field in record:
        return record[field]
    value: Any = record
    for name in field.split("."):
        if not isinstance(value, dict) or name not in value:
            return _MISSING
        value = value[name]
    return value


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


def _lines(text: str) -> tuple[str, ...]:
    """The lines between the first and the last that hold something, unchanged."""
    return tuple(text.strip().split("\n")) if text.strip() else ()


def _refuse_half_characters(text: str, field: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadRow(
            f"`{field}` holds half a character, \\u{ord(text[error.start]):04x}",
            "write both halves of the surrogate pair, or the character itself",
        ) from error
