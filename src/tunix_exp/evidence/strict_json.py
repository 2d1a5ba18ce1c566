"""JSON as evidence: UTF-8, newline at the end, finite numbers only, no key twice."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tunix_exp import json_text as strict
from tunix_exp.errors import UserError
from tunix_exp.json_text import BadJSON


class BrokenFile(UserError):
    """A file of a run directory that does not hold what it must hold."""

    def __init__(self, file: str, what: str, *, line: int | None = None) -> None:
        """Name the file as the run directory names it, and the line where there is one."""
        super().__init__(
            what,
            where=file if line is None else f"{file}, line {line}",
            remedy="the run directory is damaged or edited; take it from where it was made, or run again",
        )
        self.file = file
        self.line = line

    @property
    def finding(self) -> str:
        """What is wrong, with the line in front, for a list that names the file itself."""
        return self.what if self.line is None else f"line {self.line}: {self.what}"


def json_text(value: object, *, file: str) -> str:
    """`value` as indented JSON in its own key order; a number that is not finite is refused by its key."""
    return _dumped(value, file, indent=2) + "\n"


def json_line(value: object, *, file: str) -> str:
    """`value` as one line of JSON Lines; a number that is not finite is refused by its key."""
    return _dumped(value, file) + "\n"


def canonical_json(value: object, *, file: str) -> str:
    """The one form of `value` that hashes are taken of: sorted keys, no spaces."""
    return _dumped(value, file, sort_keys=True, separators=(",", ":"))


def _dumped(value: object, file: str, **form: Any) -> str:
    refuse_non_finite(value, file=file)
    return json.dumps(value, ensure_ascii=False, allow_nan=False, **form)


def refuse_non_finite(value: object, *, file: str) -> None:
    """Nothing in `value` is NaN or infinite; else a `UserError` names the key of the first that is."""
    for key, number in _non_finite(value, ""):
        raise UserError(
            f"`{key}` is {number}, and evidence holds finite numbers only",
            where=file,
            remedy="a loss that is not finite usually means too high a rate: lower optim.peak_lr, "
            "lengthen optim.warmup_steps or set optim.clip_norm",
        )


def read_text(path: Path, *, file: str) -> str:
    """The text of a UTF-8 file without byte order mark; anything else is a `BrokenFile`."""
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise BrokenFile(file, f"is not UTF-8 (byte {error.start})") from error
    if text.startswith("\ufeff"):
        raise BrokenFile(file, "begins with a byte order mark")
    return text


def parse_json(text: str, *, file: str, line: int | None = None) -> Any:
    """The value that `text`, which stands in `file`, holds as JSON; NaN, a key twice are a `BrokenFile`."""
    try:
        return strict.parse(text)
    except BadJSON as fault:
        raise BrokenFile(file, fault.what, line=line) from fault


def read_json_object(path: Path, *, file: str) -> dict[str, Any]:
    """The object in a JSON file; any other value is a `BrokenFile`."""
    return _object(read_text(path, file=file), file)


def read_jsonl(path: Path, *, file: str) -> list[dict[str, Any]]:
    """The objects in a JSON Lines file; an empty, cut or broken line is a `BrokenFile` with its number."""
    text = read_text(path, file=file)
    if text and not text.endswith("\n"):
        raise BrokenFile(file, "the last line is cut", line=text.count("\n") + 1)
    # not splitlines(): a text field may hold U+2028 or a form feed, which JSON leaves as they are
    return [_object(part, file, line) for line, part in enumerate(text.split("\n")[:-1], start=1)]


def _object(text: str, file: str, line: int | None = None) -> dict[str, Any]:
    value = parse_json(text, file=file, line=line)
    if not isinstance(value, dict):
        raise BrokenFile(file, "is not a JSON object", line=line)
    return value


def _non_finite(value: object, key: str) -> Iterable[tuple[str, float]]:
    if isinstance(value, float) and not math.isfinite(value):
        yield key, value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from _non_finite(part, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _non_finite(part, f"{key}[{index}]")
