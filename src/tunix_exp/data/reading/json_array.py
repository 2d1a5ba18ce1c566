"""A JSON array of objects, read whole."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from tunix_exp.data.reading import text, values
from tunix_exp.data.reading.json_lines import HASHED
from tunix_exp.data.reading.part import BadRow, Part, Raw, Seen
from tunix_exp.errors import UserError

KIND = "JSON array"
_SPACE = re.compile(r"[ \t\n\r]*")


def part(content: text.Content, name: str, stem: str, where: str) -> Part:
    """The elements of the array, each with the line on which it begins."""

    def rows(seen: Seen) -> Iterator[Raw]:
        whole = "".join(text.chunks(content, seen, name, where))
        yield from _elements(whole, name, where)

    return Part(name, stem, KIND, HASHED, rows, _record, is_array=True)


def _record(raw: Any) -> Any:
    if isinstance(raw, BadRow):
        raise raw
    return raw


def _elements(whole: str, name: str, where: str) -> Iterator[Raw]:
    """Up to the first element that is no JSON, which comes as a BadRow: where it ends is not known."""
    place = _after_space(whole, 0)
    assert whole[place] == "["  # which is how this reader is chosen
    place = _after_space(whole, place + 1)
    line, counted = 1, 0
    if whole[place : place + 1] == "]":
        _refuse_more(whole, place + 1, name, where)
        return
    for number in itertools.count(1):
        line, counted = line + whole.count("\n", counted, place), place
        try:
            record, place = values.parse_at(whole, place)
        except (ValueError, RecursionError) as error:
            if isinstance(error, json.JSONDecodeError):
                line = error.lineno
            yield number, line, values.bad_row(error)
            return
        yield number, line, record
        place = _after_space(whole, place)
        match whole[place : place + 1]:
            case ",":
                place = _after_space(whole, place + 1)
            case "]":
                _refuse_more(whole, place + 1, name, where)
                return
            case found:
                line += whole.count("\n", counted, place)
                what = (
                    f"{found!r} stands where a comma or ] is due"
                    if found
                    else "the array has no end: ] is missing"
                )
                raise UserError(f"{name}:{line} {what}", where=where, remedy="write one whole JSON array")


def _refuse_more(whole: str, place: int, name: str, where: str) -> None:
    place = _after_space(whole, place)
    if place < len(whole):
        line = 1 + whole.count("\n", 0, place)
        raise UserError(
            f"{name}:{line} holds more after the end of the array",
            where=where,
            remedy="write one JSON array a file",
        )


def _after_space(whole: str, place: int) -> int:
    found = _SPACE.match(whole, place)
    assert found is not None  # it matches nothing, too
    return found.end()
