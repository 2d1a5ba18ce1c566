"""From an answer's text to its value, by recursive descent: what stands in a bracket stays together."""

import re

from tunix_exp.scoring import algebra
from tunix_exp.scoring.algebra import TooLarge
from tunix_exp.scoring.amounts import amount_of, clock_of, with_formula
from tunix_exp.scoring.cursor import Cursor
from tunix_exp.scoring.formulas import Formulas, members
from tunix_exp.scoring.numerals import IN_WORDS, MULTIPLES, value_in_words
from tunix_exp.scoring.tokens import Token, Unreadable, tokens_of
from tunix_exp.scoring.units import unit_of
from tunix_exp.scoring.values import (
    Amount,
    Clock,
    Items,
    Relation,
    Union,
    Value,
    Words,
)

_LONGEST = 2_000
_MOST_TOKENS = 600
_EITHER_SIGN = re.compile(r"\\(?:pm|mp)(?![a-zA-Z])|±|∓")
_PLAIN_NAME = r"\\?[a-zA-Zα-ωΑ-Ω]{1,12}'{0,3}(?:_(?:\{[^{}]{1,12}\}|\w))?(?:\([a-z](?:,[a-z])*\))?"
_NAME = re.compile(
    rf"{_PLAIN_NAME}(?::{_PLAIN_NAME})?'{{0,3}}|\\frac\{{?[A-Z]{{2}}\}}?\{{?[A-Z]{{2}}\}}?"
    r"|\([a-zA-Z](?:,[a-zA-Z]){1,5}\)|[a-zA-Z][0-9]|\|[a-zA-Z]{1,3}\|"
    r"|\\(?:angle|triangle|overline|vec)\{?[a-zA-Z]{1,4}\}?"
)
_WORD_NAME = re.compile(r"(?:the )?[a-z][a-z' -]{0,60}", re.IGNORECASE)


def parse(text: str, *, grouped: bool = True) -> Value | None:
    """The value that `text` (typography removed) writes as a whole; None where it is no value but text."""
    if not text or len(text) > _LONGEST:
        return None
    if _EITHER_SIGN.search(text):
        upper = parse(
            _EITHER_SIGN.sub(lambda found: "+" if found[0] in ("±", r"\pm") else "-", text), grouped=grouped
        )
        lower = parse(
            _EITHER_SIGN.sub(lambda found: "-" if found[0] in ("±", r"\pm") else "+", text), grouped=grouped
        )
        return None if upper is None or lower is None else _both(upper, lower)
    try:
        tokens = tokens_of(text, grouped=grouped)
        if len(tokens) > _MOST_TOKENS:
            return None
        return _Parser(text, tokens).whole()
    except (Unreadable, TooLarge, RecursionError, ArithmeticError):
        return None


def _both(upper: Value, lower: Value) -> Value | None:
    """The values with either sign: `1 ± √2` is a set of two."""
    match upper, lower:
        case (Relation() as one, Relation() as two) if one.names[0] is not None and len(one.sides) == 2:
            left, right = one.sides[1], two.sides[1]
            if one.signs != ("=",) or left is None or right is None:
                return None
            return Relation(
                (one.sides[0], Items("{}", (*members(left), *members(right)))),
                one.signs,
                (one.names[0], None),
            )
        case Items() as one, Items() as two if one.kind in (",", "and", "{}"):
            return Items("{}" if one.kind == "{}" else "and", (*one.items, *two.items))
        case Amount() as one, Amount() as two:
            return Items("{}", (one, two))
        case _:
            return None


def is_formal(value: Value | None) -> bool:
    """The value is one and holds no words."""
    match value:
        case None | Words():
            return False
        case Items() | Union():
            return all(map(is_formal, value.items if isinstance(value, Items) else value.parts))
        case Relation():
            return all(side is None or is_formal(side) for side in value.sides)
        case _:
            return True


class _Parser:
    def __init__(self, text: str, tokens: list[Token]) -> None:
        self.cursor = Cursor(text, tokens)
        self.formulas = Formulas(self.cursor, self.several, self.relation)

    def whole(self) -> Value:
        numbers = [token for token in self.cursor.tokens[:-1] if token.kind == "number"]
        if len(numbers) == len(self.cursor.tokens) - 1 > 1:
            return Items(",", tuple(amount_of(token) for token in numbers))
        value = self.several()
        if self.cursor.peek().kind != "end":
            self.cursor.fail()
        return value

    def several(self) -> Value:
        """One value, or several with commas, semicolons, `and`, `or` between them."""
        items, joints = [self.relation()], set[str]()
        while (joint := self.joint()) is not None:
            joints.add(joint)
            items.append(self.relation())
        if not joints:
            return items[0]
        first = items[0]
        groups = _groups(items)
        if groups is not None:
            return Items(",", groups)
        if ";" in joints and "," in joints:
            self.cursor.fail()
        if (
            isinstance(first, Relation)
            and first.signs == ("=",)
            and first.names[0] is not None
            and not any(isinstance(item, Relation) for item in items[1:])
        ):  # x = 1, 2: the values of x
            values = Items("{}", (first.sides[1], *items[1:]))  # pyright: ignore[reportArgumentType]
            return Relation((first.sides[0], values), first.signs, (first.names[0], None))
        return Items("and" if joints & {"and", "or"} else ",", tuple(items))

    def joint(self) -> str | None:
        token = self.cursor.peek()
        if token.kind == "mark" and token.text in ",;":
            self.cursor.take()
            following = self.cursor.peek()
            if following.kind == "word" and following.text.lower() in ("and", "or"):
                self.cursor.take()
                return following.text.lower()
            return token.text
        if token.kind == "word" and token.text.lower() in ("and", "or"):
            self.cursor.take()
            return token.text.lower()
        return None

    def relation(self) -> Value:
        begin = self.cursor.peek().begin
        sides: list[Value | None] = []
        names: list[str | None] = []
        signs: list[str] = []
        if self.cursor.peek().kind == "relation" and self.cursor.peek().text in "<>≤≥≈":
            sides, names = [None], [None]
        else:
            sides, names = [self.union()], [self.name(begin)]
        while self.cursor.peek().kind == "relation":
            signs.append(self.cursor.take().text)
            begin = self.cursor.peek().begin
            sides.append(self.union())
            names.append(self.name(begin))
        if not signs:
            only = sides[0]
            assert only is not None
            return only
        if any(isinstance(side, Words) and name is None for side, name in zip(sides, names, strict=True)):
            self.cursor.fail()
        if sides[0] is None and signs[0] == "≈":
            if len(signs) > 1:
                self.cursor.fail()
            only = sides[1]
            assert only is not None
            return only
        return Relation(tuple(sides), tuple(signs), tuple(names))

    def name(self, begin: int) -> str | None:
        """What the side that began at `begin` is called, if it is a name and no calculation."""
        source = self.cursor.text[begin : self.cursor.tokens[self.cursor.at - 1].end]
        glued = source.replace(" ", "")
        if _NAME.fullmatch(glued):
            return re.sub(r"[{}\\]", "", glued)
        return " ".join(source.lower().split()) if _WORD_NAME.fullmatch(source) else None

    def union(self) -> Value:
        parts = [self.side()]
        while self.cursor.takes("∪"):
            parts.append(self.side())
        if len(parts) == 1:
            return parts[0]
        if any(isinstance(part, Amount | Words | Clock) for part in parts):
            self.cursor.fail()
        return Union(tuple(parts))

    def side(self) -> Value:
        token = self.cursor.peek()
        if token.kind == "clock":
            self.cursor.take()
            clock = clock_of(token.text)
            return clock if clock is not None else self.cursor.fail()
        following = self.cursor.peek(1)
        article = (
            token.text in ("a", "A") and following.kind == "word" and following.text not in ("and", "or")
        )
        if token.kind == "word" or article:
            return self.words()
        money = None
        negative = False
        if token.kind == "money" or (token.text == "-" and self.cursor.peek(1).kind == "money"):
            negative = self.cursor.takes("-")
            money = unit_of(self.cursor.take().text)
            if not (self.cursor.peek().kind == "number" or self.cursor.sees("-", "+", "frac", ".")):
                self.cursor.fail()
        value = self.formulas.sum()
        if not isinstance(value, Amount):
            return value
        if negative:
            value = with_formula(value, algebra.negative(value.formula))
        return self.with_unit(value, money)

    def with_unit(self, value: Amount, money: str | None) -> Amount:
        if (
            self.cursor.sees("%", "°")
            or self.cursor.peek().kind == "money"
            or self.cursor.at_word()
            or self.cursor.at_unit()
        ):
            while self.cursor.peek().kind == "word" and self.cursor.peek().text.lower() in MULTIPLES:
                factor = algebra.number(MULTIPLES[self.cursor.take().text.lower()])
                value = Amount(algebra.multiply(value.formula, factor), is_done=value.is_done)
            if value.formula.value() is None:  # `A dog`, `x cm`
                self.cursor.fail()
            tail = self.cursor.tail()
            if tail.startswith("%") and tail[1:].strip():
                self.cursor.fail()
            if money is not None and tail.lower().startswith("per "):
                tail = ""
            unit = unit_of(tail)
            if tail and (unit is None or (money is not None and unit != money)):
                self.cursor.fail()
            money = unit if money is None else money
        return value if money is None else with_formula(value, value.formula, unit=money)

    def words(self) -> Value:
        """Words up to what ends an item: a number in words, or a text."""
        begin = end = self.cursor.peek().begin
        start = self.cursor.at
        found = IN_WORDS.match(" ".join(self.cursor.text[begin : begin + 200].split()))
        while self.cursor.peek().kind not in ("end", "relation"):
            if self.cursor.sees(",", ";", ")", "]", "}", "\\}", "(", "[", "{", "\\{", "&", "\\\\"):
                break
            word = self.cursor.peek().text.lower()
            in_number = found is not None and end - begin < found.end()
            if word in ("and", "or") and self.cursor.at > start and not (word == "and" and in_number):
                break
            end = self.cursor.take().end
        source = " ".join(self.cursor.text[begin:end].split())
        if not source:
            self.cursor.fail()
        if found is not None:
            rest = source[found.end() :].strip(" -")
            if rest == "" or unit_of(rest) is not None:
                return Amount(algebra.number(value_in_words(found)), unit=unit_of(rest))
        return Words(source.casefold())


def _groups(items: list[Value]) -> tuple[Value, ...] | None:
    """Equations in which the first name comes again (`p = 5, q = 2; p = 7, q = 2`) are several solutions."""
    names = [item.names[0] if isinstance(item, Relation) else None for item in items]
    if None in names or names.count(names[0]) < 2 or len(set(names)) < 2:
        return None
    size = names.index(names[0], 1)
    if len(items) % size or any(names[i] != names[i % size] for i in range(len(items))):
        return None
    return tuple(Items("()", tuple(items[i : i + size])) for i in range(0, len(items), size))
