"""What an answer is: a number or formula with its unit, a list, an interval, an equation, a time, words."""

from __future__ import annotations

from dataclasses import dataclass

from tunix_exp.scoring.algebra import Formula


@dataclass(frozen=True, slots=True)
class Amount:
    """A number or a formula, and its unit in one spelling where one is written.

    `decimals` counts the digits after the point of a number that is written with one; `is_done` is false for
    a calculation with plain numbers that was left standing (`3 + 4`).
    """

    formula: Formula
    unit: str | None = None
    decimals: int | None = None
    digits: int = 0
    is_plain: bool = False
    is_done: bool = True


@dataclass(frozen=True, slots=True)
class Words:
    """Words in one spelling."""

    text: str


@dataclass(frozen=True, slots=True)
class Clock:
    """A time of day as hours, minutes and seconds on 24 hours, or a ratio; in digits as they are written."""

    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Items:
    """Several values. `kind` is the brackets around them; without brackets, what joins them: `,` or `and`."""

    kind: str
    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """What lies between two ends; each belongs to it or not."""

    low: Amount
    high: Amount
    has_low: bool
    has_high: bool


@dataclass(frozen=True, slots=True)
class Union:
    """Sets and intervals together."""

    parts: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """Sides with signs between them: `x = 5`, `1 < x ≤ 2`, `x ∈ [0, 1)`; `names` are sides that are names.

    A first side that is None stands for what is not named: `≥ 5`.
    """

    sides: tuple[Value | None, ...]
    signs: tuple[str, ...]
    names: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of values."""

    rows: tuple[tuple[Value, ...], ...]


Value = Amount | Words | Clock | Items | Interval | Union | Relation | Matrix
