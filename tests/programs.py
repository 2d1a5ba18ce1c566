"""What a compiled program does in its loops, read from XLA's text of it."""

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "f64": 8}
_COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = (?P<shape>\(.*?\)|\S+) (?P<op>[\w\-]+)\((?P<rest>.*)$")
_CALLED = re.compile(
    r"(?:calls|to_apply|body|condition|true_computation|false_computation|branch_computations|called_computations)"
    r"=(?:\{([^}]*)\}|%?([\w.\-]+))"
)


class Collective(NamedTuple):
    """One of a program's: its kind, and the shapes of what it makes, as XLA writes them."""

    kind: str
    shapes: tuple[str, ...]
    depth: int  # in how many loops it stands, one in another

    @property
    def bytes(self) -> int:
        """What it makes on a device."""
        return sum(_size(shape) for shape in self.shapes)


@dataclass(frozen=True)
class Program:
    """The computations of a program, each the lines of its instructions."""

    computations: dict[str, list[re.Match[str]]]
    entry: str

    @classmethod
    def of(cls, text: str) -> "Program":
        """That of `compiled.as_text()`."""
        computations, entry, now = {}, "", []
        for line in text.splitlines():
            if found := _COMPUTATION.match(line):
                now = computations.setdefault(found[1], [])
                entry = found[1] if line.startswith("ENTRY") else entry
            elif found := _INSTRUCTION.match(line):
                now.append(found)
        return cls(computations, entry)

    def collectives(self) -> list[Collective]:
        """All of them, each as often as it stands in the program; a loop's body stands once."""
        return list(self._of(self.entry, 0))

    def _of(self, name: str, depth: int):
        for line in self.computations[name]:
            op = line["op"].removesuffix("-start")
            if op in _COLLECTIVES:
                yield Collective(op, tuple(re.findall(r"\w+\[[\d,]*\]", line["shape"])), depth)
            inner = depth + (line["op"] == "while")
            for several, alone in _CALLED.findall(line["rest"]):
                for one in (several or alone).split(", "):
                    yield from self._of(one.removeprefix("%"), inner)


def in_loops(found: list[Collective], least: int) -> Counter[tuple[str, tuple[str, ...]]]:
    """Kind and shapes of those inside loops that make `least` bytes or more, with their number."""
    return Counter((one.kind, one.shapes) for one in found if one.depth and one.bytes >= least)


def _size(shape: str) -> int:
    kind, sides = re.fullmatch(r"(\w+)\[([\d,]*)\]", shape).groups()
    return _BYTES[kind] * math.prod(int(side) for side in sides.split(",") if side)
