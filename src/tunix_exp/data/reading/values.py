"""The values of a row: numbers keep the text in which they were written."""

import json
from collections.abc import Sequence
from typing import Any

from tunix_exp.data.reading.part import BadRow
from tunix_exp.json_text import printable


class Number(str):
    """A number, as the text in which the file has it: `42` stays `42`, `1.50` stays `1.50`."""

    __slots__ = ()


class NotANumber(str):
    """`NaN`, `Infinity` or `-Infinity`, which JSON does not have and Python's own writer writes."""

    __slots__ = ()


class _Repeated(ValueError):
    """A key stands twice in one object."""


def _distinct(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Repeated(printable(next(key for key in keys if keys.count(key) > 1)))
    return found


_decoder = json.JSONDecoder(
    object_pairs_hook=_distinct, parse_int=Number, parse_float=Number, parse_constant=NotANumber
)


def parse(line: str) -> Any:
    """The value that the line holds, its numbers as `Number`; raises BadRow for what is not JSON."""
    try:
        return _decoder.decode(line)
    except (ValueError, RecursionError) as error:
        raise bad_row(error) from error


def parse_at(text: str, start: int) -> tuple[Any, int]:
    """The value that begins at `start`, and where it ends; raises as `json` does."""
    return _decoder.raw_decode(text, start)


def bad_row(error: ValueError | RecursionError) -> BadRow:
    """What `parse_at` raised, in words."""
    match error:
        case json.JSONDecodeError():
            what = f"bad JSON at column {error.colno}: {error.msg}"
            return BadRow(what, "write one whole JSON object on each line")
        case _Repeated():
            return BadRow(f"the field `{error}` stands twice", "keep one of the two")
        case _:
            return BadRow("the JSON is nested too deep", "write one flat JSON object on each line")


def kind_of(value: Any) -> str:
    """What the value is, for errors."""
    match value:
        case None:
            return "null"
        case bool():
            return "a truth value"
        case NotANumber():
            return f"{value}, which is no number"
        case Number():
            return f"the number {value if len(value) <= 40 else f'{value[:40]}…'}"
        case str():
            return "a text"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return f"a {type(value).__name__}"
