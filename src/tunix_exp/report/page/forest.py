"""The comparison as rows of a forest plot: every difference with its interval, on one axis."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tunix_exp.numbers import signed
from tunix_exp.report import comparison

_KINDS = ("items", "base", "trained", "difference", "interval", "p")

# Steps that an axis may be divided by, as parts of a power of ten.
_STEPS = (1, 2, 2.5, 5, 10)
_MOST_TICKS = 5


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on the axis, in percent of its width, and what is written there."""

    x: str
    text: str


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference and the ends of its interval, in percent of the axis' width; `kind` decides the colour."""

    x: str
    low: str
    width: str
    kind: str


@dataclass(frozen=True, slots=True)
class Row:
    """One line: its name, the words beside the picture by their kind, and the picture."""

    name: str
    cells: tuple[tuple[str, str], ...]
    drawn: Interval | None


@dataclass(frozen=True, slots=True)
class Forest:
    """Rows under one heading each, on one axis; `zero` is where no difference lies."""

    unit: str
    columns: tuple[str, ...]
    groups: tuple[tuple[str, tuple[Row, ...]], ...]
    ticks: tuple[Tick, ...]
    zero: str


def forest(rows: Iterable[comparison.Row]) -> Forest:
    """The rows under their groups' headings; of accuracies in points, of a loss in nats per token."""
    groups: dict[str, list[comparison.Row]] = {}
    for row in rows:
        groups.setdefault(row.group.capitalize(), []).append(row)
    every = [row for several in groups.values() for row in several]
    is_loss = every[0].is_loss
    axis = _Axis.over([end for row in every for end in row.ends or (row.difference or 0.0,)])
    return Forest(
        unit="nats per token" if is_loss else "percentage points",
        columns=comparison.COLUMNS,
        groups=tuple((heading, tuple(_row(row, axis) for row in some)) for heading, some in groups.items()),
        ticks=axis.ticks(_nats if is_loss else _points),
        zero=axis.at(0.0),
    )


def _nats(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−")


def _points(value: float) -> str:
    return signed(100 * value, 0)


def _row(row: comparison.Row, axis: "_Axis") -> Row:
    drawn = None
    if row.ends is not None and row.difference is not None:
        drawn = axis.interval(row.difference, row.ends, better=-1 if row.is_loss else 1)
    return Row(row.name, tuple(zip(_KINDS, row.cells, strict=True)), drawn)


@dataclass(frozen=True, slots=True)
class _Axis:
    """From `low` to `high` in steps of `step`; zero lies on it."""

    low: float
    high: float
    step: float

    @classmethod
    def over(cls, ends: Sequence[float]) -> "_Axis":
        low, high = min(0.0, *ends), max(0.0, *ends)
        span = (high - low) or 1.0
        raw = span / (_MOST_TICKS - 1)
        power = 10 ** math.floor(math.log10(raw))
        step = next(part * power for part in _STEPS if part * power >= raw * (1 - 1e-9))
        return cls(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step or step, step)

    def at(self, value: float) -> str:
        return f"{100 * (value - self.low) / (self.high - self.low):.2f}%"

    def interval(self, value: float, ends: Sequence[float], *, better: int) -> Interval:
        low, high = ends
        kind = "none" if low <= 0 <= high else "better" if low * better > 0 else "worse"
        width = f"{100 * (high - low) / (self.high - self.low):.2f}%"
        return Interval(x=self.at(value), low=self.at(low), width=width, kind=kind)

    def ticks(self, text: Any) -> tuple[Tick, ...]:
        count = round((self.high - self.low) / self.step)
        values = [self.low + place * self.step for place in range(count + 1)]
        return tuple(
            Tick(self.at(value), text(value) if abs(value) > self.step / 2 else "0") for value in values
        )
