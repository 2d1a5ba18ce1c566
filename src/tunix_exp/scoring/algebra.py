"""Exact values of formulas: fractions of polynomials in symbols, roots and what cannot be computed further.

A polynomial maps monomials to rational coefficients; a monomial is a sorted tuple of atoms with their
exponents. Roots of rational numbers are products of roots of primes, which no rational relation ties
together, so that two sums of roots are equal exactly when their polynomials are. Symbols are letters, π and e
among them; functions (`sin x`), other roots and other powers are atoms that only equal themselves, with
their arguments in canonical form.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

Atom = tuple[Any, ...]
Monomial = tuple[tuple[Atom, Fraction], ...]
Polynomial = dict[Monomial, Fraction]

_MOST_TERMS = 120
_MOST_BITS = 4_000
_LARGEST_POWER = 24
_TRIED_DIVISORS = 2_000
CONSTANTS = {"π": math.pi, "e": math.e}


class TooLarge(ValueError):
    """The value has more terms or digits than are worth computing, or there is none (a division by 0)."""


@dataclass(frozen=True, slots=True)
class Formula:
    """The quotient of two polynomials, the lower of which is not zero."""

    upper: Polynomial
    lower: Polynomial

    @property
    def rational(self) -> Fraction | None:
        """The value where it is a rational number."""
        for polynomial in (self.upper, self.lower):
            if any(monomial for monomial in polynomial):
                return None
        return self.upper[()] / self.lower[()] if self.upper else Fraction(0)

    @property
    def is_closed(self) -> bool:
        """Equality of this formula with another such is decided by their polynomials: no function in it."""
        return all(
            atom[0] in ("symbol", "prime")
            for polynomial in (self.upper, self.lower)
            for monomial in polynomial
            for atom, _ in monomial
        )

    def equals(self, other: "Formula") -> bool:
        """Equal as fractions of polynomials."""
        return _product(self.upper, other.lower) == _product(other.upper, self.lower)

    def value(self) -> float | None:
        """The value in floating point, None where a symbol or a function stands in it."""
        try:
            upper, lower = _number(self.upper), _number(self.lower)
        except OverflowError:
            return None
        return None if upper is None or lower is None or lower == 0 else upper / lower

    @property
    def key(self) -> tuple[Any, ...]:
        """What two formulas share only if they are equal."""
        leading = self.lower[min(self.lower, key=repr)]
        upper, lower = (
            tuple(sorted(((monomial, value / leading) for monomial, value in part.items()), key=repr))
            for part in (self.upper, self.lower)
        )
        return upper, lower


def number(value: Fraction | int) -> Formula:
    """The rational number `value`."""
    value = Fraction(value)
    return Formula({(): value} if value else {}, {(): Fraction(1)})


def symbol(name: str) -> Formula:
    """The letter `name`, or a constant that is called so."""
    return _atom(("symbol", name))


def function(name: str, *arguments: Any) -> Formula:
    """What equals only the same function of equal arguments."""
    return _atom(("function", name, *arguments))


def add(one: Formula, two: Formula) -> Formula:
    """The sum."""
    if one.lower == two.lower:
        return _formula(_sum(one.upper, two.upper), one.lower)
    upper = _sum(_product(one.upper, two.lower), _product(two.upper, one.lower))
    return _formula(upper, _product(one.lower, two.lower))


def negative(one: Formula) -> Formula:
    """The formula with the other sign."""
    return Formula({monomial: -value for monomial, value in one.upper.items()}, one.lower)


def multiply(one: Formula, two: Formula) -> Formula:
    """The product."""
    return _formula(_product(one.upper, two.upper), _product(one.lower, two.lower))


def divide(one: Formula, two: Formula) -> Formula:
    """The quotient; `TooLarge` where the divisor is zero."""
    if not two.upper:
        raise TooLarge("division by zero")
    return multiply(one, Formula(two.lower, two.upper))


def power(base: Formula, exponent: Formula) -> Formula:
    """`base` to the power of `exponent`."""
    rational = exponent.rational
    if rational is None:
        return function("^", base.key, exponent.key)
    if rational < 0:
        return divide(number(1), power(base, number(-rational)))
    if rational.denominator == 1:
        return _whole_power(base, int(rational))
    upper, lower = _root(base.upper, rational), _root(base.lower, rational)
    return divide(upper, lower)


def _atom(atom: Atom, exponent: Fraction = Fraction(1)) -> Formula:
    return Formula({((atom, exponent),): Fraction(1)}, {(): Fraction(1)})


def _formula(upper: Polynomial, lower: Polynomial) -> Formula:
    if not lower:
        raise TooLarge("division by zero")
    if not upper:
        return Formula({}, {(): Fraction(1)})
    if list(lower) == [()]:  # a number: it goes into the coefficients
        upper, lower = {key: value / lower[()] for key, value in upper.items()}, {(): Fraction(1)}
    return Formula(upper, lower)


def _sum(one: Polynomial, two: Polynomial) -> Polynomial:
    total = dict(one)
    _put(total, two)
    return total


def _put(total: Polynomial, more: Polynomial) -> None:
    for monomial, value in more.items():
        value += total.pop(monomial, Fraction(0))
        if value:
            total[monomial] = value


def _product(one: Polynomial, two: Polynomial) -> Polynomial:
    if len(one) * len(two) > _MOST_TERMS**2 // 4:
        raise TooLarge("too many terms")
    total: Polynomial = {}
    for left, value in one.items():
        for right, other in two.items():
            _put(total, _monomial(left, right, value * other))
    if len(total) > _MOST_TERMS:
        raise TooLarge("too many terms")
    return total


def _monomial(left: Monomial, right: Monomial, value: Fraction) -> Polynomial:
    """The product of two monomials: whole powers of primes and of sums under a root are multiplied out."""
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MOST_BITS:
        raise TooLarge("too many digits")
    if not left or not right:
        return {left or right: value}
    exponents = dict(left)
    for atom, exponent in right:
        exponents[atom] = exponents.get(atom, Fraction(0)) + exponent
    freed: list[Polynomial] = []
    for atom, exponent in list(exponents.items()):
        whole = exponent.numerator // exponent.denominator
        if atom[0] in ("prime", "sum") and whole:
            exponents[atom] = exponent - whole
            if atom[0] == "prime":
                value *= Fraction(atom[1]) ** whole
            else:
                freed += [dict(atom[1])] * whole
    monomial = tuple(sorted(((a, e) for a, e in exponents.items() if e), key=repr))
    result: Polynomial = {monomial: value}
    for polynomial in freed:
        result = _product(result, polynomial)
    return result


def _whole_power(base: Formula, exponent: int) -> Formula:
    constant = base.rational
    if constant is not None:
        bits = max(constant.numerator.bit_length(), constant.denominator.bit_length())
        if bits * exponent > _MOST_BITS:
            raise TooLarge("too many digits")
        return number(constant**exponent)
    if len(base.upper) == 1 and len(base.lower) == 1 and exponent > _LARGEST_POWER:
        ((monomial, value),) = base.upper.items()
        if value == 1 and base.lower == {(): Fraction(1)} and all(a[0] == "symbol" for a, _ in monomial):
            return Formula({tuple((a, e * exponent) for a, e in monomial): value}, base.lower)
    if exponent > _LARGEST_POWER:
        raise TooLarge("too many terms")
    result = number(1)
    for _ in range(exponent):
        result = multiply(result, base)
    return result


def _root(base: Polynomial, exponent: Fraction) -> Formula:
    """A polynomial to a positive power that is no whole number."""
    if not base:
        return number(0)
    content = _content(base)
    rest = {monomial: value / content for monomial, value in base.items()}
    even = exponent.denominator % 2 == 0
    if len(rest) == 1:
        ((monomial, sign),) = rest.items()
        if sign < 0 and even:
            return multiply(_root_of_number(content, exponent), _atom(("sum", tuple(rest.items())), exponent))
        result = _root_of_number(content, exponent)
        for atom, inner in monomial:
            known = atom[0] == "prime" or not (even and inner.denominator == 1 and inner % 2 == 0)
            outer = (
                Formula({((atom, inner * exponent),): Fraction(1)}, {(): Fraction(1)})
                if known and (atom[0] != "prime" or inner * exponent < 1)
                else _atom(("sum", ((((atom, inner),), Fraction(1)),)), exponent)
            )
            result = multiply(result, outer)
        return negative(result) if sign < 0 and exponent.numerator % 2 else result
    whole = int(exponent)
    key = tuple(sorted(rest.items(), key=repr))
    result = multiply(_root_of_number(content, exponent), _atom(("sum", key), exponent - whole))
    return multiply(result, _whole_power(Formula(rest, {(): Fraction(1)}), whole)) if whole else result


def _content(base: Polynomial) -> Fraction:
    upper = math.gcd(*(value.numerator for value in base.values()))
    lower = math.lcm(*(value.denominator for value in base.values()))
    return Fraction(upper, lower)


def _root_of_number(value: Fraction, exponent: Fraction) -> Formula:
    result = number(1)
    for part, sign in ((value.numerator, 1), (value.denominator, -1)):
        for prime, count in _primes(part):
            total = count * exponent * sign
            whole = total.numerator // total.denominator
            result = multiply(result, number(Fraction(prime) ** whole))
            if total != whole:
                result = multiply(result, _atom(("prime", prime), total - whole))
    return result


def _primes(value: int) -> list[tuple[int, int]]:
    found, divisor = [], 2
    while divisor * divisor <= value:
        if divisor > _TRIED_DIVISORS:
            raise TooLarge("a root of a large number")
        count = 0
        while value % divisor == 0:
            value //= divisor
            count += 1
        if count:
            found.append((divisor, count))
        divisor += 1
    return [*found, (value, 1)] if value > 1 else found


def _number(polynomial: Polynomial) -> float | None:
    total = 0.0
    for monomial, value in polynomial.items():
        term = float(value)
        for atom, exponent in monomial:
            if atom[0] == "prime":
                base = float(atom[1])
            elif atom[0] == "symbol" and atom[1] in CONSTANTS:
                base = CONSTANTS[atom[1]]
            elif atom[0] == "sum":
                inner = _number(dict(atom[1]))
                if inner is None or inner < 0:
                    return None
                base = inner
            else:
                return None
            term *= base ** float(exponent)
        total += term
    return total
