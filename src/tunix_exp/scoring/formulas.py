"""Sums, products, powers, fractions, roots, functions and what stands in brackets."""

import re
from collections.abc import Callable
from fractions import Fraction

from tunix_exp.scoring import algebra
from tunix_exp.scoring.amounts import added, amount_of, multiplied, repeating, with_formula
from tunix_exp.scoring.cursor import Cursor
from tunix_exp.scoring.tokens import Token
from tunix_exp.scoring.values import Amount, Interval, Items, Matrix, Value

_DEEPEST = 24
_CLOSING = {"(": ")", "[": "]", "{": "}", "\\{": "\\}"}
_SET = Items("{}", ())
_MATRICES = ("pmatrix", "bmatrix", "vmatrix", "Bmatrix", "matrix", "smallmatrix", "array")
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
_APPLIED = frozenset("fghFGH")


class Formulas:
    """Reads formulas at the cursor; `several` and `relation` read what brackets and matrices hold."""

    def __init__(self, cursor: Cursor, several: Callable[[], Value], relation: Callable[[], Value]) -> None:
        """Share the cursor with the reader of lists."""
        self.cursor, self.several, self.relation = cursor, several, relation
        self.depth = self.in_bars = 0

    def sum(self) -> Value:
        """A sum of products; a value that is no number or formula stands alone."""
        self.depth += 1
        if self.depth > _DEEPEST:
            self.cursor.fail()
        value = self._signed()
        while self.cursor.sees("+", "-"):
            sign = self.cursor.take().text
            value = added(self._amount(value), self._amount(self._product()), sign)
        self.depth -= 1
        return value

    def _amount(self, value: Value) -> Amount:
        """A number or formula to calculate with: units are not calculated with."""
        return value if isinstance(value, Amount) and value.unit is None else self.cursor.fail()

    def _signed(self) -> Value:
        """A product with its sign."""
        minus = self.cursor.takes("-")
        plus = not minus and self.cursor.takes("+")
        value = self._product()
        if not minus:
            return self._amount(value) if plus else value
        amount = self._amount(value)
        return with_formula(amount, algebra.negative(amount.formula))

    def _product(self) -> Value:
        value = self._powered()
        while True:
            if self.cursor.takes("*", "/"):
                sign = self.cursor.tokens[self.cursor.at - 1].text
                minus = self.cursor.takes("-")
                other = self._amount(self._powered())
                if minus:
                    other = with_formula(other, algebra.negative(other.formula))
                value = multiplied(self._amount(value), other, sign)
            elif self._multiplies(value):
                before = self.cursor.tokens[self.cursor.at - 1]
                mixed = self._mixed(value, before)
                if mixed is None:
                    mixed = multiplied(self._amount(value), self._amount(self._powered()), "")
                value = mixed
            else:
                return value

    def _multiplies(self, value: Value) -> bool:
        """What follows is multiplied without a sign between them."""
        token, before = self.cursor.peek(), self.cursor.tokens[self.cursor.at - 1]
        if not isinstance(value, Amount) or self.cursor.at_unit():
            return False
        if token.kind == "word":
            return token.text.lower() == "and" and before.kind == "number" and self._is_fraction(1)
        if (
            token.text == "x"
            and before.kind == "number"
            and token.spaced
            and self.cursor.peek(1).kind == "number"
        ):
            self.cursor.tokens[self.cursor.at] = Token("mark", "*", token.begin, token.end, True)
            return False
        if token.kind == "number":
            return before.kind == "number" and token.spaced and self._is_fraction(0)
        if token.kind == "name":
            names = before.kind == "name" or before.text in ("!",)
            return not (names and token.spaced and not self.cursor.latex)
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

    def _is_fraction(self, ahead: int) -> bool:
        upper, line, lower = (self.cursor.peek(ahead + i) for i in range(3))
        plain = upper.kind == lower.kind == "number" and line.text == "/"
        return plain and upper.text.isdigit() and lower.text.isdigit()

    def _mixed(self, value: Value, before: Token) -> Amount | None:
        r"""A whole number and a fraction after it without a sign: `3 1/2`, `3 and 1/2`, `3\frac{1}{2}`."""
        if not (isinstance(value, Amount) and before.kind == "number" and before.text.isdigit()):
            return None
        if not (value.is_plain and value.decimals is None):
            return None
        at = self.cursor.at
        if self.cursor.peek().kind == "word":
            self.cursor.take()
        if self._is_fraction(0):
            upper, _, lower = self.cursor.take(), self.cursor.take(), self.cursor.take()
            if self.cursor.sees("^", "/", "!") or int(lower.text) == 0:
                self.cursor.at = at
                self.cursor.fail()
            part = Fraction(int(upper.text), int(lower.text))
        elif self.cursor.sees("frac"):
            fraction = self._powered()
            plain = isinstance(fraction, Amount) and fraction.is_plain
            part = fraction.formula.rational if plain else None  # pyright: ignore[reportAttributeAccessIssue]
            if part is None or not 0 < part < 1:
                self.cursor.at = at
                return None
        else:
            self.cursor.at = at
            return None
        return Amount(algebra.add(value.formula, algebra.number(part)), is_plain=True)

    def _powered(self) -> Value:
        value = self._postfixed()
        if not self.cursor.takes("^"):
            return value
        base = self._amount(value)
        exponent = self._argument(signed=True)
        formula = algebra.power(base.formula, exponent.formula)
        plain = base.is_plain and exponent.is_plain and exponent.decimals is None
        done = plain or formula.rational is None
        return self._factorial(Amount(formula, is_plain=plain, is_done=done))

    def _argument(self, *, signed: bool = False) -> Amount:
        r"""What a command applies to: a group in braces, or the next digit or name (`\frac12`, `x^2`)."""
        if self.cursor.takes("{"):
            return self._amount(self._closed("{"))
        minus = signed and self.cursor.takes("-")
        token = self.cursor.peek()
        if token.kind == "number" and not signed and len(token.text) > 1 and token.text.isdigit():
            first, rest = token.text[0], token.text[1:]
            self.cursor.tokens[self.cursor.at] = Token("number", rest, token.begin + 1, token.end, False)
            return amount_of(Token("number", first, token.begin, token.begin + 1, False))
        value = self._amount(self._postfixed(factorial=False))
        return with_formula(value, algebra.negative(value.formula)) if minus else value

    def _postfixed(self, *, factorial: bool = True) -> Value:
        value = self._primary()
        if isinstance(value, Amount) and factorial:
            return self._factorial(value)
        return value

    def _factorial(self, value: Amount) -> Amount:
        while self.cursor.sees("!") and not self.cursor.peek().spaced:
            self.cursor.take()
            number = value.formula.rational
            if number is not None and number.denominator == 1 and 0 <= number <= 60:
                product = 1
                for factor in range(2, int(number) + 1):
                    product *= factor
                value = Amount(algebra.number(product), is_done=False)
            else:
                value = Amount(algebra.function("!", value.formula.key))
        return value

    def _primary(self) -> Value:
        token = self.cursor.take()
        match token.kind:
            case "number":
                return self._based(token)
            case "repeating":
                return repeating(token.text)
            case "name":
                return self._named(token)
            case "function":
                return self._applied(token)
            case "command":
                return self._command(token)
            case "mark" if token.text in _CLOSING:
                return self._closed(token.text)
            case "mark" if token.text == "|":
                self.in_bars += 1
                inner = self._amount(self.sum())
                self.in_bars -= 1
                if not self.cursor.takes("|"):
                    self.cursor.fail()
                return Amount(algebra.function("abs", inner.formula.key))
            case _:
                self.cursor.at -= 1
                return self.cursor.fail()

    def _based(self, token: Token) -> Amount:
        number = amount_of(token)
        following = self.cursor.peek()
        if following.kind == "word" and following.text in ("th", "st", "nd", "rd") and not following.spaced:
            self.cursor.take()
        if not self.cursor.sees("_"):
            return number
        return Amount(algebra.function("base", token.text, self._index()))

    def _index(self) -> str:
        """What is lowered after `_`, as it is written."""
        self.cursor.take()
        begin = self.cursor.peek().begin
        if self.cursor.takes("{"):
            depth = 1
            while depth and self.cursor.peek().kind != "end":
                text = self.cursor.take().text
                depth += (text == "{") - (text == "}")
        else:
            self.cursor.take()
        return re.sub(r"[\s{}]", "", self.cursor.text[begin : self.cursor.tokens[self.cursor.at - 1].end])

    def _named(self, token: Token) -> Amount:
        name = token.text
        following = self.cursor.peek()
        if following.kind == "number" and not following.spaced and following.text.isdigit():
            name += "_" + self.cursor.take().text
        elif self.cursor.sees("_"):
            name += "_" + self._index()
        while self.cursor.sees("'"):
            self.cursor.take()
            name += "'"
        if self.cursor.sees(":") and self.cursor.peek(1).kind == "name":
            self.cursor.take()
            return Amount(algebra.symbol(name + ":" + repr(self._named(self.cursor.take()).formula.key)))
        if token.text in _APPLIED and self.cursor.sees("(") and not self.cursor.peek().spaced:
            self.cursor.take()
            return Amount(algebra.function(name, _key(self._closed("("))))
        return Amount(algebra.symbol(name))

    def _applied(self, token: Token) -> Amount:
        name = token.text
        if self.cursor.sees("_"):
            name += "_" + self._index()
        power = None
        if self.cursor.takes("^"):
            power = self._argument(signed=True)
        if self.cursor.takes("("):
            inner = _key(self._closed("("))
        else:
            value = self._powered()
            while self._multiplies(value) and self.cursor.peek().kind != "function":
                value = multiplied(self._amount(value), self._amount(self._powered()), "")
            inner = _key(value)
        formula = algebra.function(name, inner)
        return Amount(formula if power is None else algebra.power(formula, power.formula))

    def _command(self, token: Token) -> Value:
        match token.text:
            case "frac":
                upper, lower = self._argument(), self._argument()
                return multiplied(upper, lower, "/")
            case "sqrt":
                degree = Fraction(2)
                if self.cursor.takes("["):
                    inner = self._amount(self._closed("[", single=True)).formula.rational
                    degree = inner if inner is not None and inner > 0 else self.cursor.fail()
                base = self._argument() if not self.cursor.sees("(") else self._amount(self._primary())
                formula = algebra.power(base.formula, algebra.number(1 / degree))
                return Amount(formula, is_done=formula.rational is None)
            case "binom":
                return Amount(
                    algebra.function("binom", self._argument().formula.key, self._argument().formula.key)
                )
            case "begin":
                return self._matrix()
            case "sum" | "prod" | "int" | "lim":
                return self._applied(token)
            case name if name in _ATOMIC_PREFIXES:
                begin = self.cursor.peek().begin
                self._argument()
                source = re.sub(
                    r"[\s{}]", "", self.cursor.text[begin : self.cursor.tokens[self.cursor.at - 1].end]
                )
                return Amount(algebra.symbol(f"{name} {source}"))
            case "end" | "left" | "right":
                return self.cursor.fail()
            case name:
                return Amount(algebra.symbol("\\" + name))

    def _closed(self, opening: str, *, single: bool = False) -> Value:
        """What the bracket that was opened holds, up to its end; `(a, b]` and its like are intervals."""
        if self.cursor.takes(_CLOSING[opening]):
            return _SET if opening == "\\{" else self.cursor.fail()
        value = self.several()
        closing = self.cursor.take()
        if closing.kind != "mark":
            self.cursor.fail()
        listed = value.items if isinstance(value, Items) and value.kind == "," else None
        if closing.text == _CLOSING[opening]:
            if listed is None:
                return Items("{}", members(value)) if opening == "\\{" else value
            return Items({"(": "()", "[": "[]"}.get(opening, "{}"), listed)
        if (opening, closing.text) not in (("(", "]"), ("[", ")")) or listed is None or len(listed) != 2:
            self.cursor.fail()
        low, high = listed
        if single or not (isinstance(low, Amount) and isinstance(high, Amount)):
            self.cursor.fail()
        return Interval(low, high, opening == "[", closing.text == "]")

    def _matrix(self) -> Value:
        if not self.cursor.takes("{"):
            self.cursor.fail()
        kind = ""
        while not self.cursor.takes("}"):
            if self.cursor.peek().kind == "end":
                self.cursor.fail()
            kind += self.cursor.take().text
        if kind == "array" and self.cursor.takes("{"):
            while not self.cursor.takes("}"):
                if self.cursor.take().kind == "end":
                    self.cursor.fail()
        elif kind not in _MATRICES:
            self.cursor.fail()
        rows: list[list[Value]] = [[]]
        while not self.cursor.sees("end"):
            rows[-1].append(self.relation())
            if self.cursor.takes("&"):
                continue
            if self.cursor.takes("\\\\") and not self.cursor.sees("end"):
                rows.append([])
        self.cursor.take()
        while not self.cursor.takes("}"):
            if self.cursor.take().kind == "end":
                self.cursor.fail()
        return Matrix(tuple(tuple(row) for row in rows))


def members(value: Value) -> tuple[Value, ...]:
    """The items of a list or set, or the value alone."""
    return value.items if isinstance(value, Items) and value.kind in (",", "and", "{}") else (value,)


def _key(value: Value) -> object:
    return value.formula.key if isinstance(value, Amount) else repr(value)
