"""When two values are equal; the name of the rule by which they are."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TypeVar

from tunix_exp.scoring import algebra
from tunix_exp.scoring.algebra import Formula, TooLarge
from tunix_exp.scoring.symbolic import same_values
from tunix_exp.scoring.units import same_unit
from tunix_exp.scoring.values import (
    Amount,
    Clock,
    Interval,
    Items,
    Matrix,
    Relation,
    Union,
    Value,
    Words,
)

SIGNIFICANT_DIGITS = 6
"""So many digits a rounded decimal must have to answer for a fraction or a root that rounds to it."""

_INFINITY = algebra.symbol("∞")
_FLIPPED = {"<": ">", ">": "<", "≤": "≥", "≥": "≤", "=": "=", "≈": "=", "≡": "≡", "≠": "≠"}
_ORDERED = ("<", ">", "≤", "≥")

T = TypeVar("T")


class Undecided(ValueError):
    """The values seem equal, and only the extra `math` can say so."""


def is_number(value: Value) -> bool:
    """A number, perhaps with a unit."""
    return isinstance(value, Amount) and value.formula.rational is not None and value.is_done


def equality(given: Value, wanted: Value) -> str | None:
    """The rule by which `given` answers `wanted`, or None; `Undecided` where no rule can tell."""
    try:
        return _equality(given, wanted)
    except TooLarge:
        return None


def _equality(given: Value, wanted: Value) -> str | None:
    if isinstance(wanted, Relation):
        return _related(given, wanted)
    if isinstance(given, Relation):
        return _answers(given, wanted)
    match given, wanted:
        case Amount(), Amount():
            return _amounts(given, wanted)
        case Clock(), Clock():
            return "time" if given == wanted else None
        case Words(), Words():
            return "text" if given.text.removeprefix("the ") == wanted.text.removeprefix("the ") else None
        case Matrix(), Matrix():
            return "list" if _matrices(given, wanted) else None
        case Matrix(), Items() if wanted.kind in ("()", "[]"):
            return "list" if _pairwise(_flat(given), wanted.items) else None
        case Union(), Union():
            return "interval" if _unordered(given.parts, wanted.parts) else None
    lower, upper = _interval(given), _interval(wanted)
    is_interval = isinstance(given, Interval) or isinstance(wanted, Interval)
    if is_interval and lower is not None and upper is not None:
        return "interval" if _intervals(lower, upper) else None
    if isinstance(given, Items) and isinstance(wanted, Items):
        return "list" if _lists(given, wanted) else None
    if isinstance(given, Items) and given.kind == "{}" and len(given.items) == 1:
        return _equality(given.items[0], wanted)
    return None


# Numbers and formulas.


def _amounts(given: Amount, wanted: Amount) -> str | None:
    """Equal in value, and no unit contradicts the other: a missing unit contradicts nothing.

    Units are never converted, but `50%` is also 0.5. A calculation left standing answers nothing.
    """
    if not given.is_done:
        return None
    if given.unit is not None and wanted.unit is not None:
        return _same_value(given, wanted) if same_unit(given.unit, wanted.unit) else None
    for one in _shares(given):
        for two in _shares(wanted):
            if (rule := _same_value(one, two)) is not None:
                return rule
    if given.formula.is_closed and wanted.formula.is_closed:
        return None
    same = same_values(given.formula, wanted.formula)
    if same is None:
        raise Undecided
    return "math" if same else None


def _shares(amount: Amount) -> list[Amount]:
    if amount.unit != "%":
        return [amount]
    formula = algebra.divide(amount.formula, algebra.number(100))
    decimals = None if amount.decimals is None else amount.decimals + 2
    return [amount, Amount(formula, None, decimals, amount.digits, amount.is_plain)]


def _same_value(one: Amount, two: Amount) -> str | None:
    if one.formula.equals(two.formula):
        return "number" if one.formula.rational is not None else "formula"
    return "rounded" if _rounds_to(one, two) or _rounds_to(two, one) else None


def _rounds_to(exact: Amount, decimal: Amount) -> bool:
    """`decimal` is `exact`, which is no decimal itself, rounded to at least six significant digits."""
    if decimal.decimals is None or decimal.digits < SIGNIFICANT_DIGITS or exact.decimals is not None:
        return False
    rounded = decimal.formula.rational
    if rounded is None or rounded.denominator == 1:
        return False
    half = Fraction(1, 2 * 10**decimal.decimals)
    value = exact.formula.rational
    if value is not None:
        return value.denominator != 1 and abs(value - rounded) <= half
    approximate = exact.formula.value()
    if approximate is None:
        return False
    return abs(approximate - float(rounded)) <= max(float(half), 4e-16 * abs(approximate))


# Lists, sets and intervals.


def _lists(given: Items, wanted: Items) -> bool:
    """Item by item, and in order unless the expected list is a set, joined by `and`, or of solutions.

    Brackets must be of one kind where both have some; a closed interval needs its own.
    """
    kinds = (given.kind, wanted.kind)
    free = [kind in (",", "and") for kind in kinds]
    if not any(free) and kinds[0] != kinds[1]:
        return False
    if any(free) and "[]" in kinds and len(wanted.items) == 2 and not all(free):
        return False
    one, two = given.items, wanted.items
    if wanted.kind in ("{}", "and") or _are_solutions(two):
        return _unordered(one, two)
    return _pairwise(one, two)


def _are_solutions(items: tuple[Value, ...]) -> bool:
    """Several tuples, or several equations, are the solutions of something: in any order."""
    kinds = (Items, Interval)
    return len(items) > 1 and (
        all(isinstance(item, kinds) for item in items) or all(isinstance(item, Relation) for item in items)
    )


def _pairwise(one: tuple[Value, ...], two: tuple[Value, ...]) -> bool:
    return len(one) == len(two) and all(map(_equal_items, one, two))


def _equal_items(one: Value, two: Value) -> bool:
    """Equal as parts of something larger: there a unit stands in both or in neither."""
    if isinstance(one, Amount) and isinstance(two, Amount) and (one.unit is None) != (two.unit is None):
        return False
    return _equality(one, two) is not None


def _unordered(one: tuple[Value, ...], two: tuple[Value, ...]) -> bool:
    """Each of one is in two and the other way round; both hold each once."""
    one, two = _once(one), _once(two)
    if len(one) != len(two):
        return False
    is_named = [any(isinstance(item, Relation) for item in items) for items in (one, two)]
    if is_named == [False, True] and all(
        isinstance(item, Relation) for item in two
    ):  # `4, 5` for `AB = 4, CD = 5`: the names are left out, so the order says which is which
        return _pairwise(one, two) or (_share_a_name(two) and _covers(one, two, _equal_items))
    return _covers(one, two, _equal_items)


def _share_a_name(items: tuple[Value, ...]) -> bool:
    return len({item.names[0] for item in items if isinstance(item, Relation)}) == 1


def _covers(one: Sequence[T], two: Sequence[T], are_equal: Callable[[T, T], bool]) -> bool:
    """Whether each of `one` has an equal of its own in `two`, and none is left."""
    left = list(two)
    for item in one:
        index = next((i for i, other in enumerate(left) if are_equal(item, other)), None)
        if index is None:
            return False
        del left[index]
    return not left


def _once(items: tuple[Value, ...]) -> tuple[Value, ...]:
    if len(items) > 60:
        raise TooLarge("a long list")
    kept: list[Value] = []
    for item in items:
        spread = item.items if isinstance(item, Items) and item.kind == "{}" else (item,)  # ± in a list
        kept += [one for one in spread if not any(_is_same(one, other) for other in kept)]
    return tuple(kept)


def _is_same(one: Value, two: Value) -> bool:
    try:
        return type(one) is type(two) and _equal_items(one, two)
    except Undecided:
        return False


def _interval(value: Value) -> Interval | None:
    if isinstance(value, Interval):
        return value
    if isinstance(value, Items) and value.kind in ("()", "[]") and len(value.items) == 2:
        low, high = value.items
        if isinstance(low, Amount) and isinstance(high, Amount):
            return Interval(low, high, value.kind == "[]", value.kind == "[]")
    return None


def _intervals(one: Interval, two: Interval) -> bool:
    if (one.has_low, one.has_high) != (two.has_low, two.has_high):
        return False
    return _equal_items(one.low, two.low) and _equal_items(one.high, two.high)


def _matrices(one: Matrix, two: Matrix) -> bool:
    return len(one.rows) == len(two.rows) and all(map(_pairwise, one.rows, two.rows))


def _flat(matrix: Matrix) -> tuple[Value, ...]:
    return tuple(row[0] for row in matrix.rows) if all(len(row) == 1 for row in matrix.rows) else ()


# Equations and inequalities.


def _answers(given: Relation, wanted: Value) -> str | None:
    """An equation answers by its last side if its first is a name or a calculation with numbers."""
    if set(given.signs) <= {"=", "≈"}:
        first = given.sides[0]
        calculation = isinstance(first, Amount) and first.formula.rational is not None
        if given.names[0] is None and first is not None and not calculation:
            return None
        for side in _last_sides(given):
            if (rule := _equality(side, wanted)) is not None:
                return rule
        return None
    if given.signs == ("∈",) and given.names[0] is not None and given.sides[1] is not None:
        return _equality(given.sides[1], wanted)
    bounds = _bounds(given)
    target = _interval(wanted)
    if bounds is None or target is None or not isinstance(wanted, Interval | Items):
        return None
    return "interval" if _intervals(bounds[1], target) else None


def _last_sides(relation: Relation) -> list[Value]:
    """What a chain ends on: `x = 1/3 ≈ 0.33` is 1/3 and about 0.33."""
    sides = relation.sides[-1:] if relation.signs[-1] == "=" else relation.sides[:-3:-1]
    return [side for side in sides if side is not None]


def _related(given: Value, wanted: Relation) -> str | None:
    if isinstance(given, Relation):
        return "equation" if _relations(given, wanted) else None
    if set(wanted.signs) <= {"=", "≈"}:  # y = 2x + 1, answered by 2x + 1
        return _without_name(given, wanted)
    if wanted.signs == ("∈",) and wanted.names[0] is not None and wanted.sides[1] is not None:
        return _equality(given, wanted.sides[1])
    bounds, answer = _bounds(wanted), _interval(given)
    if bounds is None or answer is None:
        return None
    return "interval" if _intervals(answer, bounds[1]) else None


def _without_name(given: Value, wanted: Relation) -> str | None:
    solved = _solved(wanted)
    if solved is None:
        return None
    name, value = solved
    if isinstance(value, Amount) and len(name) == 1 and _uses(value.formula, name):
        return None
    return _equality(given, value)


def _solved(relation: Relation) -> tuple[str, Value] | None:
    """The name and its value where one side is a name: of several values, the last."""
    if not set(relation.signs) <= {"=", "≈"}:
        return None
    first, last = relation.sides[0], relation.sides[-1]
    if relation.names[0] is not None and last is not None:
        return relation.names[0], last
    if len(relation.sides) == 2 and relation.names[1] is not None and first is not None:
        return relation.names[1], first
    return None


def _uses(formula: Formula, name: str) -> bool:
    return repr(("symbol", name)) in repr((formula.upper, formula.lower))


def _relations(given: Relation, wanted: Relation) -> bool:
    one, two = _solved(given), _solved(wanted)
    if one is not None and two is not None:
        if one[0] == two[0]:
            values = [one[1], *(_last_sides(given) if given.names[0] is not None else ())]
            return any(_equality(value, two[1]) is not None for value in values)
        if not (_is_line(given) and _is_line(wanted)):
            return False
    if two is not None and not _is_line(wanted):
        return False
    if len(given.sides) == len(wanted.sides) == 2 and given.signs == wanted.signs == ("=",):
        return _same_equation(given, wanted)
    if "∈" in given.signs + wanted.signs:
        return _same_members(given, wanted)
    if given.signs + wanted.signs and all(sign in _ORDERED for sign in given.signs + wanted.signs):
        left, right = _bounds(given), _bounds(wanted)
        if left is not None and right is not None and (left[0] == right[0] or None in (left[0], right[0])):
            return _intervals(left[1], right[1])
    return _same_links(given, wanted)


def _is_line(relation: Relation) -> bool:
    """No value of one unknown: both sides hold symbols, or the side that is no name does."""
    solved = _solved(relation)
    if solved is None:
        return True
    value = solved[1]
    return isinstance(value, Amount) and value.formula.rational is None and value.formula.value() is None


def _difference(left: Value | None, right: Value | None) -> Formula | None:
    if not (isinstance(left, Amount) and isinstance(right, Amount)):
        return None
    return algebra.add(left.formula, algebra.negative(right.formula))


def _same_equation(given: Relation, wanted: Relation) -> bool:
    if _pairwise_sides(given, wanted) or _pairwise_sides(given, wanted, swapped=True):
        return True
    one, two = _difference(*given.sides), _difference(*wanted.sides)
    return one is not None and two is not None and _factor(one, two) is not None


def _pairwise_sides(given: Relation, wanted: Relation, *, swapped: bool = False) -> bool:
    sides = given.sides[::-1] if swapped else given.sides
    pairs = list(zip(sides, wanted.sides, strict=True))
    return all(one is not None and two is not None and _is_same(one, two) for one, two in pairs)


def _factor(one: Formula, two: Formula) -> Fraction | None:
    """The number by which `two` is multiplied in `one`."""
    if not one.upper or not two.upper:
        return None
    ratio = algebra.divide(one, two)
    if ratio.rational is not None:
        return ratio.rational
    shared = next(iter(two.upper))
    if one.lower != two.lower or shared not in one.upper:
        return None
    factor = one.upper[shared] / two.upper[shared]
    return factor if one.equals(algebra.multiply(two, algebra.number(factor))) else None


def _same_links(given: Relation, wanted: Relation) -> bool:
    """Each link of the chains says the same, read from the left or from the right."""
    one, two = _links(given), _links(wanted)
    return one is not None and two is not None and _covers(one, two, _same_link)


def _links(relation: Relation) -> list[tuple[Formula, str]] | None:
    links: list[tuple[Formula, str]] = []
    for left, sign, right in zip(relation.sides, relation.signs, relation.sides[1:], strict=False):
        difference = _difference(left, right)
        if difference is None:
            return None
        links.append((difference, sign))
    return links


def _same_link(one: tuple[Formula, str], two: tuple[Formula, str]) -> bool:
    factor = _factor(one[0], two[0])
    if factor is None:
        return False
    return one[1] == (two[1] if factor > 0 else _FLIPPED[two[1]])


def _same_members(given: Relation, wanted: Relation) -> bool:
    """`x ∈ [a, b]` and `a ≤ x ≤ b`, of the same name."""
    sets: list[tuple[str | None, Value]] = []
    for relation in (given, wanted):
        if relation.signs == ("∈",) and relation.sides[1] is not None:
            sets.append((relation.names[0], relation.sides[1]))
        else:
            bounds = _bounds(relation)
            if bounds is None:
                return False
            sets.append(bounds)
    (one, left), (two, right) = sets
    return (one == two or None in (one, two)) and _equality(left, right) is not None


def _bounds(relation: Relation) -> tuple[str | None, Interval] | None:
    """The name and the interval that inequalities about one name give it."""
    signs, sides, names = relation.signs, relation.sides, relation.names
    if not all(sign in _ORDERED for sign in signs) or len(sides) > 3:
        return None
    if len(sides) == 3:
        low, high = sides[0], sides[2]
        if names[1] is None or not (isinstance(low, Amount) and isinstance(high, Amount)):
            return None
        if all(sign in ("<", "≤") for sign in signs):
            return names[1], Interval(low, high, signs[0] == "≤", signs[1] == "≤")
        if all(sign in (">", "≥") for sign in signs):
            return names[1], Interval(high, low, signs[1] == "≥", signs[0] == "≥")
        return None
    left, right, sign = next(zip(sides, sides[1:], signs, strict=False))
    if (left is None or names[0] is not None) and isinstance(right, Amount):
        name, bound = names[0], right
    elif names[1] is not None and isinstance(left, Amount):
        name, bound, sign = names[1], left, _FLIPPED[sign]
    else:
        return None
    closed = sign in ("≤", "≥")
    if sign in ("<", "≤"):
        return name, Interval(Amount(algebra.negative(_INFINITY)), bound, False, closed)
    return name, Interval(bound, Amount(_INFINITY), closed, False)
