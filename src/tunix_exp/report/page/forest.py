"""The comparison as rows of a forest plot: every difference with its interval, on one axis."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunix_exp.report.page.numbers import percent, points, probability, signed
from tunix_exp.scoring.paired import GROUPS

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
    """One line: the words beside the picture, and the picture."""

    name: str
    n_items: str
    base: str
    trained: str
    difference: str
    interval: str
    p: str
    drawn: Interval | None


@dataclass(frozen=True, slots=True)
class Forest:
    """Rows under one heading each, on one axis; `zero` is where no difference lies."""

    unit: str
    groups: tuple[tuple[str, tuple[Row, ...]], ...]
    ticks: tuple[Tick, ...]
    zero: str


def forest(comparison: dict[str, Any]) -> Forest:
    """Accuracy: all items, then every section, category and difficulty."""
    parts = [("", {"All items": comparison | {"p_corrected": comparison["mcnemar_p"]}})]
    parts += [(name.capitalize(), comparison[f"per_{name}"]) for name in GROUPS]
    return _accuracy_forest([(heading, rows) for heading, rows in parts if rows])


def forest_of_runs(comparisons: dict[str, dict[str, Any]]) -> Forest:
    """Accuracy: one row a run, over all its items."""
    return _accuracy_forest(
        [("Run", {name: one | {"p_corrected": one["mcnemar_p"]} for name, one in comparisons.items()})]
    )


def loss_forest(loss: dict[str, Any]) -> Forest:
    """Held-out loss: one row, in nats per token; less is better."""
    interval = loss["interval_95"]
    axis = _Axis.over(interval or [loss["difference_nats"]])
    row = Row(
        name="All items",
        n_items=f"{loss['n_items']:,}",
        base=f"{loss['base_nats']:.4f}",
        trained=f"{loss['trained_nats']:.4f}",
        difference=signed(loss["difference_nats"], 4),
        interval="too few items"
        if interval is None
        else f"{signed(interval[0], 4)} to {signed(interval[1], 4)}",
        p="",
        drawn=None if interval is None else axis.interval(loss["difference_nats"], interval, better=-1),
    )
    return Forest(
        "nats per token", (("", (row,)),), axis.ticks(lambda v: f"{v:+.3g}".replace("-", "−")), axis.at(0.0)
    )


def _accuracy_forest(parts: list[tuple[str, dict[str, Any]]]) -> Forest:
    axis = _Axis.over([end for _, rows in parts for row in rows.values() for end in row["interval_95"]])
    groups = tuple(
        (heading, tuple(_accuracy_row(name, row, axis) for name, row in rows.items()))
        for heading, rows in parts
    )
    return Forest("percentage points", groups, axis.ticks(lambda value: signed(100 * value, 0)), axis.at(0.0))


def _accuracy_row(name: str, row: dict[str, Any], axis: "_Axis") -> Row:
    low, high = row["interval_95"]
    return Row(
        name=name,
        n_items=f"{row['n_items']:,}",
        base=percent(row["base_accuracy"]),
        trained=percent(row["trained_accuracy"]),
        difference=points(row["difference"]),
        interval=f"{points(low)} to {points(high)}",
        p=probability(row["p_corrected"]),
        drawn=axis.interval(row["difference"], (low, high), better=1),
    )


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
