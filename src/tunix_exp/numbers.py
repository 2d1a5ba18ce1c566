"""Numbers as a reader wants them: the same kind always with the same digits, and a true minus."""

import json
import math
from collections.abc import Sequence
from typing import Any

_KIB = 1024
_UNITS = ("KiB", "MiB", "GiB", "TiB")
_MINUTE_S = 60
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def percent(fraction: float) -> str:
    """A fraction in percent."""
    return f"{100 * fraction:.1f} %"


def points(difference: float) -> str:
    """A difference of fractions in percentage points, with its sign; no sign of a zero below it."""
    return signed(round(100 * difference, 1) + 0.0, 1)


def signed(value: float, digits: int) -> str:
    """`value` with its sign."""
    return f"{value:+.{digits}f}".replace("-", "−")


def interval(ends: Sequence[float], digits: int) -> str:
    """Both ends; of a negative one the sign."""
    return f"[{', '.join(signed(round(end, digits) + 0.0, digits).removeprefix('+') for end in ends)}]"


def interval_in_points(ends: Sequence[float]) -> str:
    """An interval of a difference of fractions, in percentage points."""
    return interval([100 * end for end in ends], 1)


def probability(p: float) -> str:
    """A p-value to four places, or that it is smaller."""
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def figure(value: float) -> str:
    """Any number in at most four significant digits."""
    if value != 0 and (abs(value) >= 1e5 or abs(value) < 1e-3):
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def count_of(number: float) -> str:
    """A large number of operations, as a power of ten."""
    mantissa, exponent = f"{number:.2e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(_RAISED)}"


def size(count: float) -> str:
    """Bytes in the largest unit that leaves a whole number in front."""
    if count < _KIB:
        return f"{count:.0f} B"
    power = min(len(_UNITS), int(math.log(count, _KIB)))
    return f"{count / _KIB**power:.1f} {_UNITS[power - 1]}"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < _MINUTE_S:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), _MINUTE_S)
    return (
        f"{minutes} min {rest:02d} s" if minutes < _MINUTE_S else f"{minutes // 60} h {minutes % 60:02d} min"
    )


def counted(n: int, noun: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


def enumerated(names: Sequence[str], *, most: int = 3) -> str:
    """`a`, `a and b`, `a, b and c`; of more than `most` names the first, and how many others there are."""
    if len(names) > most:
        names = [*names[:most], f"{len(names) - most:,} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def written(value: Any) -> str:
    """A config value as the command line takes it: strings bare, the rest as JSON."""
    if isinstance(value, str) and value and value.isprintable():
        return value
    return json.dumps(value, ensure_ascii=False)
