"""JSON read strictly: one value for a key, finite numbers, nothing that this machine cannot hold."""

import json
import math
from collections.abc import Sequence
from typing import Any, Literal, Never

# Below the least limit that Python can be set to (640), so that every number read can also be written.
MOST_DIGITS = 600

Fault = Literal["syntax", "key", "constant", "number", "depth"]


class BadJSON(ValueError):
    """A text that is no JSON; `fault` tells its kind, `subject` what it is about."""

    def __init__(
        self,
        fault: Fault,
        what: str,
        subject: str = "",
        *,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        """Keep the parts, so that each reader can word them for its own files."""
        super().__init__(what)
        self.fault = fault
        self.what = what
        self.subject = subject
        self.line = line
        self.column = column


def parse(text: str) -> Any:
    """The value that `text` spells; anything that is not JSON, or is ambiguous in it, is a `BadJSON`."""
    try:
        return json.loads(
            text,
            object_pairs_hook=_distinct,
            parse_constant=_refuse_constant,
            parse_int=_whole,
            parse_float=_finite,
        )
    except json.JSONDecodeError as error:
        what = f"is not JSON: {error}"
        raise BadJSON("syntax", what, error.msg, line=error.lineno, column=error.colno) from error
    except RecursionError as error:
        raise BadJSON("depth", "is nested too deep") from error


def printable(text: str) -> str:
    """`text` with every half of a character spelled out, as none can be written anywhere."""
    return text.encode("utf-8", "backslashreplace").decode()


def _distinct(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            twice = printable(key)
            raise BadJSON("key", f"has the key `{twice}` twice", twice)
        found[key] = value
    return found


def _refuse_constant(name: str) -> Never:
    raise BadJSON("constant", f"holds {name}, which is no number", name)


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise BadJSON("number", f"holds a number of {len(digits)} digits", f"{len(digits)} digits")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise BadJSON("number", f"holds {digits[:20]}, which is too large a number", digits[:20])
    return number
