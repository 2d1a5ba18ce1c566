"""From an answer's text to its value, by recursive descent: what stands in a bracket stays together."""

import re
from fractions import Fraction
from typing import NoReturn

from tunix_exp.scoring import algebra
from tunix_exp.scoring.algebra import TooLarge
from tunix_exp.scoring.amounts import added, amount_of, clock_of, multiplied, repeating, with_formula
from tunix_exp.scoring.numerals import IN_WORDS, MULTIPLES, value_in_words
from tunix_exp.scoring.tokens import Token, Unreadable, tokens_of
from tunix_exp.scoring.units import is_known, unit_of
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

_LONGEST = 2_000
_MOST_TOKENS = 600
_DEEPEST = 24
_SIGNS = frozenset(["=", "<", ">", "≤", "≥", "≠", "≈", "≡", "∈"])
_CLOSING = {"(": ")", "[": "]", "{": "}", "\\{": "\\}"}
_SET = Items("{}", ())
_EITHER_SIGN = re.compile(r"\\(?:pm|mp)(?![a-zA-Z])|±|∓")
_ONE = algebra.number(1)
_PLAIN_NAME = r"\\?[a-zA-Zα-ωΑ-Ω]{1,12}'{0,3}(?:_(?:\{[^{}]{1,12}\}|\w))?(?:\([a-z](?:,[a-z])*\))?"
_NAME = re.compile(
    rf"{_PLAIN_NAME}(?::{_PLAIN_NAME})?'{{0,3}}|\\frac\{{?[A-Z]{{2}}\}}?\{{?[A-Z]{{2}}\}}?"
    r"|\([a-zA-Z](?:,[a-zA-Z]){1,5}\)|[a-zA-Z][0-9]|\|[a-zA-Z]{1,3}\|"
    r"|\\(?:angle|triangle|overline|vec)\{?[a-zA-Z]{1,4}\}?"
)
_ATOMIC_PREFIXES = (
    "angle",
    "triangle",
    "overline",
    "vec",
    "hat",
    "bar",
    "widehat",
    "overrightarrow",
    "tilde",
)
_APPLIED = frozenset(["f", "g", "h", "F", "G", "H"])
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
                (one.sides[0], Items("{}", (*_members(left), *_members(right)))),
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
        self.text, self.tokens, self.at, self.depth = text, tokens, 0, 0
        self.latex = "\\" in text or "^" in text
        self.in_bars = 0

    # The tokens.

    def peek(self, ahead: int = 0) -> Token:
        return self.tokens[min(self.at + ahead, len(self.tokens) - 1)]

    def take(self) -> Token:
        token = self.peek()
        self.at += 1
        return token

    def sees(self, *texts: str) -> bool:
        token = self.peek()
        return token.kind not in ("number", "name", "clock", "end") and token.text in texts

    def takes(self, *texts: str) -> bool:
        found = self.sees(*texts)
        self.at += found
        return found

    def fail(self) -> NoReturn:
        raise Unreadable(self.text[self.peek().begin :])

    # Lists and relations.

    def whole(self) -> Value:
        numbers = [token for token in self.tokens[:-1] if token.kind == "number"]
        if len(numbers) == len(self.tokens) - 1 > 1:
            return Items(",", tuple(amount_of(token) for token in numbers))
        value = self.several()
        if self.peek().kind != "end":
            self.fail()
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
            self.fail()
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
        token = self.peek()
        if token.kind == "mark" and token.text in ",;":
            self.take()
            following = self.peek()
            if following.kind == "word" and following.text.lower() in ("and", "or"):
                self.take()
                return following.text.lower()
            return token.text
        if token.kind == "word" and token.text.lower() in ("and", "or"):
            self.take()
            return token.text.lower()
        return None

    def relation(self) -> Value:
        begin = self.peek().begin
        sides: list[Value | None] = []
        names: list[str | None] = []
        signs: list[str] = []
        if self.peek().kind == "relation" and self.peek().text in "<>≤≥≈":
            sides, names = [None], [None]
        else:
            sides, names = [self.union()], [self.name(begin)]
        while self.peek().kind == "relation":
            signs.append(self.take().text)
            begin = self.peek().begin
            sides.append(self.union())
            names.append(self.name(begin))
        if not signs:
            only = sides[0]
            assert only is not None
            return only
        if any(isinstance(side, Words) and name is None for side, name in zip(sides, names, strict=True)):
            self.fail()
        if sides[0] is None and signs[0] == "≈":
            if len(signs) > 1:
                self.fail()
            only = sides[1]
            assert only is not None
            return only
        return Relation(tuple(sides), tuple(signs), tuple(names))

    def name(self, begin: int) -> str | None:
        """What the side that began at `begin` is called, if it is a name and no calculation."""
        source = self.text[begin : self.tokens[self.at - 1].end]
        glued = source.replace(" ", "")
        if _NAME.fullmatch(glued):
            return re.sub(r"[{}\\]", "", glued)
        return " ".join(source.lower().split()) if _WORD_NAME.fullmatch(source) else None

    def union(self) -> Value:
        parts = [self.side()]
        while self.takes("∪"):
            parts.append(self.side())
        if len(parts) == 1:
            return parts[0]
        if any(isinstance(part, Amount | Words | Clock) for part in parts):
            self.fail()
        return Union(tuple(parts))

    # One value with its unit.

    def side(self) -> Value:
        token = self.peek()
        if token.kind == "clock":
            self.take()
            clock = clock_of(token.text)
            return clock if clock is not None else self.fail()
        following = self.peek(1)
        article = (
            token.text in ("a", "A") and following.kind == "word" and following.text not in ("and", "or")
        )
        if token.kind == "word" or article:
            return self.words()
        money = None
        negative = False
        if token.kind == "money" or (token.text == "-" and self.peek(1).kind == "money"):
            negative = self.takes("-")
            money = unit_of(self.take().text)
            if not (self.peek().kind == "number" or self.sees("-", "+", "frac", ".")):
                self.fail()
        value = self.sum()
        if not isinstance(value, Amount):
            return value
        if negative:
            value = with_formula(value, algebra.negative(value.formula))
        return self.with_unit(value, money)

    def with_unit(self, value: Amount, money: str | None) -> Amount:
        if self.sees("%", "°") or self.peek().kind == "money" or self.at_word() or self.at_unit():
            while self.peek().kind == "word" and self.peek().text.lower() in MULTIPLES:
                factor = algebra.number(MULTIPLES[self.take().text.lower()])
                value = Amount(algebra.multiply(value.formula, factor), is_done=value.is_done)
            if value.formula.value() is None:  # `A dog`, `x cm`
                self.fail()
            tail = self.tail()
            if tail.startswith("%") and tail[1:].strip():
                self.fail()
            if money is not None and tail.lower().startswith("per "):
                tail = ""
            unit = unit_of(tail)
            if tail and (unit is None or (money is not None and unit != money)):
                self.fail()
            money = unit if money is None else money
        return value if money is None else with_formula(value, value.formula, unit=money)

    def at_word(self) -> bool:
        return self.peek().kind == "word" and self.peek().text.lower() not in ("and", "or")

    def tail(self) -> str:
        """The words and signs up to what ends an item; they are taken."""
        begin = end = self.peek().begin
        while True:
            token = self.peek()
            word = token.text.lower() if token.kind == "word" else ""
            if token.kind in ("end", "relation", "number", "clock") and not self.raised(token):
                break
            if word in ("and", "or") or self.sees(",", ";", ")", "]", "}", "\\}", "∪", "&", "\\\\", "|", "+"):
                if not (token.text == "}" and self.text[begin:end].rstrip().endswith(("2", "3", "c", "C"))):
                    break
                if self.text[begin:end].count("{") <= self.text[begin:end].count("}"):
                    break
            end = self.take().end
        return self.text[begin:end]

    def raised(self, token: Token) -> bool:
        """`2` or `3` as a unit's power: `cm^2`, `m2`."""
        before = self.tokens[self.at - 1]
        return (
            token.kind == "number"
            and token.text in ("2", "3")
            and (before.text in ("^", "{") or not token.spaced)
        )

    def at_unit(self) -> bool:
        """A one-letter unit of the table stands apart after a number: `5 m`, `3 m/s`."""
        token, before = self.peek(), self.tokens[self.at - 1]
        if token.kind != "name" or before.kind not in ("number", "word") or not token.spaced:
            return False
        if token.text not in ("m", "g", "s", "h", "l", "L"):
            return False
        at = self.at
        tail = self.tail()
        self.at = at
        return is_known(tail.strip(" .")) if tail else False

    def words(self) -> Value:
        """Words up to what ends an item: a number in words, or a text."""
        begin = end = self.peek().begin
        start = self.at
        found = IN_WORDS.match(" ".join(self.text[begin : begin + 200].split()))
        while self.peek().kind not in ("end", "relation"):
            if self.sees(",", ";", ")", "]", "}", "\\}", "(", "[", "{", "\\{", "&", "\\\\"):
                break
            word = self.peek().text.lower()
            in_number = found is not None and end - begin < found.end()
            if word in ("and", "or") and self.at > start and not (word == "and" and in_number):
                break
            end = self.take().end
        source = " ".join(self.text[begin:end].split())
        if not source:
            self.fail()
        if found is not None:
            rest = source[found.end() :].strip(" -")
            if rest == "" or unit_of(rest) is not None:
                return Amount(algebra.number(value_in_words(found)), unit=unit_of(rest))
        return Words(source.casefold())

    # Formulas.

    def sum(self) -> Value:
        self.depth += 1
        if self.depth > _DEEPEST:
            self.fail()
        value = self.signed()
        while self.sees("+", "-"):
            sign = self.take().text
            value = added(self.amount(value), self.amount(self.product()), sign)
        self.depth -= 1
        return value

    def amount(self, value: Value) -> Amount:
        """A number or formula to calculate with: units are not calculated with."""
        return value if isinstance(value, Amount) and value.unit is None else self.fail()

    def signed(self) -> Value:
        """A product with its sign."""
        minus = self.takes("-")
        plus = not minus and self.takes("+")
        value = self.product()
        if not minus:
            return self.amount(value) if plus else value
        amount = self.amount(value)
        return with_formula(amount, algebra.negative(amount.formula))

    def product(self) -> Value:
        value = self.powered()
        while True:
            if self.takes("*", "/"):
                sign = self.tokens[self.at - 1].text
                minus = self.takes("-")
                other = self.amount(self.powered())
                if minus:
                    other = with_formula(other, algebra.negative(other.formula))
                value = multiplied(self.amount(value), other, sign)
            elif self.multiplies(value):
                before = self.tokens[self.at - 1]
                mixed = self.mixed(value, before)
                if mixed is None:
                    mixed = multiplied(self.amount(value), self.amount(self.powered()), "")
                value = mixed
            else:
                return value

    def multiplies(self, value: Value) -> bool:
        """What follows is multiplied without a sign between them."""
        token, before = self.peek(), self.tokens[self.at - 1]
        if not isinstance(value, Amount) or self.at_unit():
            return False
        if token.kind == "word":
            return token.text.lower() == "and" and before.kind == "number" and self.is_fraction(1)
        if token.text == "x" and before.kind == "number" and token.spaced and self.peek(1).kind == "number":
            self.tokens[self.at] = Token("mark", "*", token.begin, token.end, True)
            return False
        if token.kind == "number":
            return before.kind == "number" and token.spaced and self.is_fraction(0)
        if token.kind == "name":
            names = before.kind == "name" or before.text in ("!",)
            return not (names and token.spaced and not self.latex)
        if token.kind == "function":
            return True
        if token.kind == "command":
            return token.text not in (
                "end",
                "mod",
                "pmod",
                "bmod",
                "to",
                "rightarrow",
                "Rightarrow",
                "implies",
            )
        return token.kind == "mark" and token.text in ("(", "[", "{", *(() if self.in_bars else ("|",)))

    def is_fraction(self, ahead: int) -> bool:
        upper, line, lower = (self.peek(ahead + i) for i in range(3))
        plain = upper.kind == lower.kind == "number" and line.text == "/"
        return plain and upper.text.isdigit() and lower.text.isdigit()

    def mixed(self, value: Value, before: Token) -> Amount | None:
        r"""A whole number and a fraction after it without a sign: `3 1/2`, `3 and 1/2`, `3\frac{1}{2}`."""
        if not (isinstance(value, Amount) and before.kind == "number" and before.text.isdigit()):
            return None
        if not (value.is_plain and value.decimals is None):
            return None
        at = self.at
        if self.peek().kind == "word":
            self.take()
        if self.is_fraction(0):
            upper, _, lower = self.take(), self.take(), self.take()
            if self.sees("^", "/", "!") or int(lower.text) == 0:
                self.at = at
                self.fail()
            part = Fraction(int(upper.text), int(lower.text))
        elif self.sees("frac"):
            fraction = self.powered()
            plain = isinstance(fraction, Amount) and fraction.is_plain
            part = fraction.formula.rational if plain else None  # pyright: ignore[reportAttributeAccessIssue]
            if part is None or not 0 < part < 1:
                self.at = at
                return None
        else:
            self.at = at
            return None
        return Amount(algebra.add(value.formula, algebra.number(part)), is_plain=True)

    def powered(self) -> Value:
        value = self.postfixed()
        if not self.takes("^"):
            return value
        base = self.amount(value)
        exponent = self.argument(signed=True)
        formula = algebra.power(base.formula, exponent.formula)
        plain = base.is_plain and exponent.is_plain and exponent.decimals is None
        done = plain or formula.rational is None
        return self.factorial(Amount(formula, is_plain=plain, is_done=done))

    def argument(self, *, signed: bool = False) -> Amount:
        r"""What a command applies to: a group in braces, or the next digit or name (`\frac12`, `x^2`)."""
        if self.takes("{"):
            return self.amount(self.closed("{"))
        minus = signed and self.takes("-")
        token = self.peek()
        if token.kind == "number" and not signed and len(token.text) > 1 and token.text.isdigit():
            first, rest = token.text[0], token.text[1:]
            self.tokens[self.at] = Token("number", rest, token.begin + 1, token.end, False)
            return amount_of(Token("number", first, token.begin, token.begin + 1, False))
        value = self.amount(self.postfixed(factorial=False))
        return with_formula(value, algebra.negative(value.formula)) if minus else value

    def postfixed(self, *, factorial: bool = True) -> Value:
        value = self.primary()
        if isinstance(value, Amount) and factorial:
            return self.factorial(value)
        return value

    def factorial(self, value: Amount) -> Amount:
        while self.sees("!") and not self.peek().spaced:
            self.take()
            number = value.formula.rational
            if number is not None and number.denominator == 1 and 0 <= number <= 60:
                product = 1
                for factor in range(2, int(number) + 1):
                    product *= factor
                value = Amount(algebra.number(product), is_done=False)
            else:
                value = Amount(algebra.function("!", value.formula.key))
        return value

    def primary(self) -> Value:
        token = self.take()
        match token.kind:
            case "number":
                return self.based(token)
            case "repeating":
                return repeating(token.text)
            case "name":
                return self.named(token)
            case "function":
                return self.applied(token)
            case "command":
                return self.command(token)
            case "mark" if token.text in _CLOSING:
                return self.closed(token.text)
            case "mark" if token.text == "|":
                self.in_bars += 1
                inner = self.amount(self.sum())
                self.in_bars -= 1
                if not self.takes("|"):
                    self.fail()
                return Amount(algebra.function("abs", inner.formula.key))
            case _:
                self.at -= 1
                return self.fail()

    def based(self, token: Token) -> Amount:
        number = amount_of(token)
        following = self.peek()
        if following.kind == "word" and following.text in ("th", "st", "nd", "rd") and not following.spaced:
            self.take()
        if not self.sees("_"):
            return number
        return Amount(algebra.function("base", token.text, self.index()))

    def index(self) -> str:
        """What is lowered after `_`, as it is written."""
        self.take()
        begin = self.peek().begin
        if self.takes("{"):
            depth = 1
            while depth and self.peek().kind != "end":
                text = self.take().text
                depth += (text == "{") - (text == "}")
        else:
            self.take()
        return re.sub(r"[\s{}]", "", self.text[begin : self.tokens[self.at - 1].end])

    def named(self, token: Token) -> Amount:
        name = token.text
        following = self.peek()
        if following.kind == "number" and not following.spaced and following.text.isdigit():
            name += "_" + self.take().text
        elif self.sees("_"):
            name += "_" + self.index()
        while self.sees("'"):
            self.take()
            name += "'"
        if self.sees(":") and self.peek(1).kind == "name":
            self.take()
            return Amount(algebra.symbol(name + ":" + repr(self.named(self.take()).formula.key)))
        if token.text in _APPLIED and self.sees("(") and not self.peek().spaced:
            self.take()
            return Amount(algebra.function(name, _key(self.closed("("))))
        return Amount(algebra.symbol(name))

    def applied(self, token: Token) -> Amount:
        name = token.text
        if self.sees("_"):
            name += "_" + self.index()
        power = None
        if self.takes("^"):
            power = self.argument(signed=True)
        if self.takes("("):
            inner = _key(self.closed("("))
        else:
            value = self.powered()
            while self.multiplies(value) and self.peek().kind != "function":
                value = multiplied(self.amount(value), self.amount(self.powered()), "")
            inner = _key(value)
        formula = algebra.function(name, inner)
        return Amount(formula if power is None else algebra.power(formula, power.formula))

    def command(self, token: Token) -> Value:
        match token.text:
            case "frac":
                upper, lower = self.argument(), self.argument()
                return multiplied(upper, lower, "/")
            case "sqrt":
                degree = Fraction(2)
                if self.takes("["):
                    inner = self.amount(self.closed("[", single=True)).formula.rational
                    degree = inner if inner is not None and inner > 0 else self.fail()
                base = self.argument() if not self.sees("(") else self.amount(self.primary())
                formula = algebra.power(base.formula, algebra.number(1 / degree))
                return Amount(formula, is_done=formula.rational is None)
            case "binom":
                return Amount(
                    algebra.function("binom", self.argument().formula.key, self.argument().formula.key)
                )
            case "begin":
                return self.matrix()
            case "sum" | "prod" | "int" | "lim":
                return self.applied(token)
            case name if name in _ATOMIC_PREFIXES:
                begin = self.peek().begin
                self.argument()
                source = re.sub(r"[\s{}]", "", self.text[begin : self.tokens[self.at - 1].end])
                return Amount(algebra.symbol(f"{name} {source}"))
            case "end" | "left" | "right":
                return self.fail()
            case name:
                return Amount(algebra.symbol("\\" + name))

    def closed(self, opening: str, *, single: bool = False) -> Value:
        """What the bracket that was opened holds, up to its end; `(a, b]` and its like are intervals."""
        if self.takes(_CLOSING[opening]):
            return _SET if opening == "\\{" else self.fail()
        value = self.several()
        closing = self.take()
        if closing.kind != "mark":
            self.fail()
        listed = value.items if isinstance(value, Items) and value.kind == "," else None
        if closing.text == _CLOSING[opening]:
            if listed is None:
                return Items("{}", _members(value)) if opening == "\\{" else value
            return Items({"(": "()", "[": "[]"}.get(opening, "{}"), listed)
        if (opening, closing.text) not in (("(", "]"), ("[", ")")) or listed is None or len(listed) != 2:
            self.fail()
        low, high = listed
        if single or not (isinstance(low, Amount) and isinstance(high, Amount)):
            self.fail()
        return Interval(low, high, opening == "[", closing.text == "]")

    def matrix(self) -> Value:
        if not self.takes("{"):
            self.fail()
        kind = ""
        while not self.takes("}"):
            if self.peek().kind == "end":
                self.fail()
            kind += self.take().text
        if kind == "array" and self.takes("{"):
            while not self.takes("}"):
                if self.take().kind == "end":
                    self.fail()
        elif kind not in ("pmatrix", "bmatrix", "vmatrix", "Bmatrix", "matrix", "smallmatrix", "array"):
            self.fail()
        rows: list[list[Value]] = [[]]
        while not self.sees("end"):
            rows[-1].append(self.relation())
            if self.takes("&"):
                continue
            if self.takes("\\\\") and not self.sees("end"):
                rows.append([])
        self.take()
        while not self.takes("}"):
            if self.take().kind == "end":
                self.fail()
        return Matrix(tuple(tuple(row) for row in rows))


def _groups(items: list[Value]) -> tuple[Value, ...] | None:
    """Equations in which the first name comes again (`p = 5, q = 2; p = 7, q = 2`) are several solutions."""
    names = [item.names[0] if isinstance(item, Relation) else None for item in items]
    if None in names or names.count(names[0]) < 2 or len(set(names)) < 2:
        return None
    size = names.index(names[0], 1)
    if len(items) % size or any(names[i] != names[i % size] for i in range(len(items))):
        return None
    return tuple(Items("()", tuple(items[i : i + size])) for i in range(0, len(items), size))


def _members(value: Value) -> tuple[Value, ...]:
    return value.items if isinstance(value, Items) and value.kind in (",", "and", "{}") else (value,)


def _key(value: Value) -> object:
    return value.formula.key if isinstance(value, Amount) else repr(value)
