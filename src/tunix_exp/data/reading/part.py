"""What a reader of one file gives: its rows, one after another, each parsed when it is asked for."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Raw = tuple[int, int, Any]
"""The number of a row in its file, the line on which it begins, and the row before it is parsed."""


class BadRow(Exception):
    """A row cannot be an example; carries what is wrong and the remedy."""

    def __init__(self, what: str, remedy: str) -> None:
        """Keep both parts."""
        super().__init__(what)
        self.what = what
        self.remedy = remedy


@dataclass(slots=True)
class Seen:
    """What a reader met on its way, complete when its rows have been gone through.

    `counts` are of what was read past without losing anything, by the words of `report/facts.py`'s table;
    `digest` is the sha256 of the content as `hashed` says.
    """

    counts: Counter[str] = field(default_factory=Counter)
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a source.

    `rows` goes through the file from its beginning; `parse` makes a record of a row, or raises BadRow; `kind`
    names the form of the file, `hashed` what the digest is of. `file` is where it lies on this machine.
    """

    name: str
    stem: str
    kind: str
    hashed: str
    rows: Callable[[Seen], Iterator[Raw]]
    parse: Callable[[Any], Any]
    is_array: bool = False
    file: Path | None = None

    def place(self, number: int, line: int) -> str:
        """Where the row stands; elements of an array may share a line, and have their number."""
        return f"{self.name}:{line} (element {number})" if self.is_array else f"{self.name}:{line}"


def digest_of(parts: list[tuple[Part, Seen]]) -> str:
    """The sha256 of one file, or that of the list of those of several, a line each."""
    if len(parts) == 1:
        return parts[0][1].digest
    return hashlib.sha256("".join(f"{seen.digest}\n" for _, seen in parts).encode()).hexdigest()
