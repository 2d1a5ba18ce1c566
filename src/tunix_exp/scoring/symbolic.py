"""Formulas with functions, which have no canonical form here, compared by their values at fixed points.

In floating point the values only tell what is different. That formulas are equal is said by SymPy's
arithmetic of 50 digits (the extra `math`): to 40 digits at each of the points at which both have a value. No
search for a proof can hang, and the verdict depends on no clock.
"""

import importlib
import importlib.util
import math
import zlib
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from tunix_exp.scoring.algebra import CONSTANTS, Atom, Formula

REMEDY = "uv sync --extra math"

_POINTS = 10
_FEWEST_POINTS = 4
_NEAR = 1e-9
_LARGEST = 1e15
_DIGITS = 50
_FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "sin": lambda m, x: m.sin(x), "cos": lambda m, x: m.cos(x), "tan": lambda m, x: m.tan(x),
    "cot": lambda m, x: 1 / m.tan(x), "sec": lambda m, x: 1 / m.cos(x), "csc": lambda m, x: 1 / m.sin(x),
    "arcsin": lambda m, x: m.asin(x), "arccos": lambda m, x: m.acos(x), "arctan": lambda m, x: m.atan(x),
    "sinh": lambda m, x: m.sinh(x), "cosh": lambda m, x: m.cosh(x), "tanh": lambda m, x: m.tanh(x),
    "exp": lambda m, x: m.exp(x), "ln": lambda m, x: m.log(x), "log": lambda m, x: m.log(x),
    "abs": lambda m, x: m.fabs(x), "lg": lambda m, x: m.log(x) / m.log(10),
}  # fmt: skip


class _NoValue(ValueError):
    """There is no real value at this point, or too large a one."""


def is_installed() -> bool:
    """SymPy can be imported."""
    return importlib.util.find_spec("sympy") is not None


def same_values(one: Formula, two: Formula) -> bool | None:
    """Whether both have the same values; None where they seem to, and SymPy is not there to say so."""
    points = _shared_points(one, two)
    if points is None:
        return False
    if not is_installed():
        return None
    mpmath: Any = importlib.import_module("mpmath")
    with mpmath.workdps(_DIGITS):
        for point in points:
            left, right = (_value(formula, point, mpmath, mpmath.mpf) for formula in (one, two))
            if abs(left - right) > mpmath.mpf(10) ** (10 - _DIGITS) * max(1, abs(left), abs(right)):
                return False
    return True


def _shared_points(one: Formula, two: Formula) -> list[int] | None:
    """The points at which both have a value, roughly the same; None where they differ or are too few."""
    found: list[int] = []
    for point in range(_POINTS):
        try:
            left, right = (_value(formula, point, math, float) for formula in (one, two))
        except (ValueError, OverflowError, ZeroDivisionError, TypeError):
            continue
        if abs(left - right) > _NEAR * max(1.0, abs(left), abs(right)):
            return None
        found.append(point)
    return found if len(found) >= _FEWEST_POINTS else None


def _value(formula: Formula, point: int, arithmetic: Any, real: Any) -> Any:
    upper = _polynomial(formula.upper.items(), point, arithmetic, real)
    return upper / _polynomial(formula.lower.items(), point, arithmetic, real)


def _polynomial(items: Any, point: int, arithmetic: Any, real: Any) -> Any:
    total = real(0)
    for monomial, factor in items:
        term = real(factor.numerator) / real(factor.denominator)
        for atom, exponent in monomial:
            term *= _power(_atom(atom, point, arithmetic, real), exponent, real)
        total += term
    if not abs(total) < _LARGEST:
        raise _NoValue
    return total


def _power(base: Any, exponent: Fraction, real: Any) -> Any:
    if exponent.denominator == 1:
        return base ** int(exponent)
    if base < 0:
        raise _NoValue
    return base ** (real(exponent.numerator) / real(exponent.denominator))


def _atom(atom: Atom, point: int, arithmetic: Any, real: Any) -> Any:
    kind, *rest = atom
    if kind == "prime":
        return real(rest[0])
    if kind == "sum":
        return _polynomial(rest[0], point, arithmetic, real)
    if kind == "symbol":
        if rest[0] in CONSTANTS:
            return +arithmetic.pi if rest[0] == "π" else +arithmetic.e
        return _point(rest[0], point, real)
    name, *arguments = rest
    if name == "^":
        base, exponent = (_of_key(key, point, arithmetic, real) for key in arguments)
        if base <= 0 or abs(exponent) > 50:
            raise _NoValue
        return base**exponent
    if len(arguments) == 1 and isinstance(arguments[0], tuple):
        plain, _, index = name.partition("_")
        if plain in _FUNCTIONS and (not index or (plain == "log" and index.isdigit())):
            value = _FUNCTIONS[plain](arithmetic, _of_key(arguments[0], point, arithmetic, real))
            return value / arithmetic.log(real(int(index))) if index else value
    return _point(repr(atom), point, real)  # a function that is not known here


def _of_key(key: Any, point: int, arithmetic: Any, real: Any) -> Any:
    upper, lower = (_polynomial(part, point, arithmetic, real) for part in key)
    return upper / lower


def _point(name: str, point: int, real: Any) -> Any:
    """A number for a symbol: every second one may be negative."""
    seed = zlib.crc32(f"{name} {point}".encode()) % 9_973
    value = real(seed) / real(1_009) + real(1) / real(7)
    return value - 5 if point % 2 else value
