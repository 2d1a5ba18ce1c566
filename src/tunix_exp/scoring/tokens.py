"""An answer cut into numbers, names, words, signs and brackets."""

import re
from dataclasses import dataclass
from typing import Literal

from tunix_exp.scoring.units import ELEMENTARY_FUNCTIONS, UNIT_OF

LONGEST_NUMBER = 200
"""Characters. A longer number is compared as text: Python refuses `int` on some thousands of digits."""

Kind = Literal[
    "number", "repeating", "clock", "name", "word", "function", "money", "relation", "command", "mark", "end"
]


class Unreadable(ValueError):
    """The text is no formula."""


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the text from `begin` to `end`, in one spelling; `spaced` says that a space is before it."""

    kind: Kind
    text: str
    begin: int
    end: int
    spaced: bool


FUNCTIONS = ELEMENTARY_FUNCTIONS | {"sinh", "cosh", "tanh", "gcd", "lcm", "min", "max", "det"}
_GREEK = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma "
    "tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar"
)
_NAMES = {name: name for name in _GREEK.split()} | {
    "pi": "π", "infty": "∞", "emptyset": "∅", "varnothing": "∅", "ldots": "…", "dots": "…", "cdots": "…",
    "dotsc": "…",
}  # fmt: skip
_RELATIONS = {
    "le": "≤", "leq": "≤", "leqslant": "≤", "ge": "≥", "geq": "≥", "geqslant": "≥", "lt": "<", "gt": ">",
    "ne": "≠", "neq": "≠", "approx": "≈", "simeq": "≈", "equiv": "≡", "in": "∈", "colon": ":",
}  # fmt: skip
_MARKS = {
    "times": "*", "cdot": "*", "ast": "*", "div": "/", "pm": "±", "mp": "±", "cup": "∪", "cap": "∩",
    "lbrace": "\\{", "rbrace": "\\}", "lbrack": "[", "rbrack": "]", "vert": "|", "lvert": "|", "rvert": "|",
    "mid": "|", "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom",
}  # fmt: skip
_SPELLED = {
    "<=": "≤", ">=": "≥", "=<": "≤", "!=": "≠", "==": "=", "×": "*", "⩽": "≤", "⩾": "≥", "≦": "≤", "≧": "≥",
    "**": "^", "U": "∪", "...": "…", "√": "sqrt",
}  # fmt: skip
_GROUPED = (
    r"(?<![\d.])(?<!\d,)[0-9]{1,3}(?:,[0-9]{3}){1,11}(?![0-9]|,[0-9])(?:\.[0-9]++)?"
    r"|(?<![\d.])(?<!\d[ ])[0-9]{1,3}(?:[ ][0-9]{3}){1,11}(?![0-9/]|[ ][0-9])(?:\.[0-9]++)?"
)
_SINGLE = r"[0-9]*+\.[0-9]*+\\overline\{[0-9]{1,20}\}|[0-9]++(?:\.[0-9]++)?|\.[0-9]++"


def _pattern(number: str) -> re.Pattern[str]:
    return re.compile(
        rf"""
        (?P<space>\s+)
      | (?P<dated>[0-9]++\.[0-9]++\.[0-9.]*+|[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}(?![\w-])
                 |[0-9]{{1,2}}/[0-9]{{1,2}}/[0-9]{{2,4}}(?![\w/]))
      | (?P<clock>[0-9]{{1,9}}(?:\s?:\s?[0-9]{{1,9}}){{1,3}}(?:\s?(?:[ap]\.m\.?|[ap]m)(?![\w]))?(?![\w:])
                 |[0-9]{{1,2}}\s?(?:[ap]\.m\.?|[ap]m)(?!\w))
      | (?P<number>(?:{number})(?:[eE][-+]?[0-9]{{1,2}}(?![\w.]))?)
      | (?P<command>\\[a-zA-Z]+\*?)
      | (?P<row>\\\\) | (?P<brace>\\[{{}}]) | (?P<bar>\\\|)
      | (?P<money>US\$|[$€£¥₹¢]|(?:USD|EUR|GBP|JPY|INR|CHF)(?=\s?[-0-9.]))
      | (?P<word>[^\W\d_]{{2,}}(?:['’][^\W\d_]+)?)
      | (?P<name>[^\W\d_])
      | (?P<relation><=|>=|=<|!=|==|[=<>≤≥≠≈≡∈⩽⩾≦≧])
      | (?P<double>\*\*) | (?P<sign>\.\.\.|[∞∅√])
      | (?P<mark>.)
        """,
        re.VERBOSE | re.DOTALL | re.IGNORECASE,
    )


_WITH_GROUPS, _WITHOUT_GROUPS = _pattern(f"{_GROUPED}|{_SINGLE}"), _pattern(_SINGLE)


def tokens_of(text: str, *, grouped: bool = True) -> list[Token]:
    """The tokens of `text`, an end after them; `Unreadable` for dates, version numbers and huge numbers.

    `grouped` reads `1,234` as one number.
    """
    tokens: list[Token] = []
    latex, spaced = "\\" in text, False
    for found in (_WITH_GROUPS if grouped else _WITHOUT_GROUPS).finditer(text):
        kind, piece = found.lastgroup, found[0]
        assert kind is not None
        if kind == "space":
            spaced = True
            continue
        if kind == "number" and "overline" in piece:
            kind = "repeating"
        if not grouped and kind == "number" and piece.startswith("0") and piece[1:].isdigit():
            raise Unreadable(piece)
        if kind == "dated" or (kind == "number" and len(piece) > LONGEST_NUMBER):
            raise Unreadable(piece)
        place = (found.start(), found.end(), spaced)
        spaced = False
        if kind in ("number", "repeating", "clock", "money"):
            tokens.append(Token(kind, piece, *place))  # pyright: ignore[reportArgumentType]
        elif kind == "command":
            tokens.append(_command(piece[1:], place))
        elif kind in ("word", "name"):
            tokens += _letters(piece, text, place, latex=latex)
        elif kind == "sign":
            tokens.append(Token("command" if piece == "√" else "name", _spelled(piece), *place))
        else:
            tokens.append(Token("relation" if kind == "relation" else "mark", _spelled(piece), *place))
    end = len(text)
    return [*tokens, Token("end", "", end, end, True)]


def _spelled(piece: str) -> str:
    if piece in _SPELLED:
        return _SPELLED[piece]
    return piece


def _command(name: str, place: tuple[int, int, bool]) -> Token:
    if name in _RELATIONS:
        return Token("relation", _RELATIONS[name], *place)
    if name in _NAMES:
        return Token("name", _NAMES[name], *place)
    if name in FUNCTIONS:
        return Token("function", name, *place)
    if name in _MARKS:
        mark = _MARKS[name]
        return Token("command" if mark.isalpha() else "mark", mark, *place)
    return Token("command", name, *place)


def _letters(piece: str, text: str, place: tuple[int, int, bool], *, latex: bool) -> list[Token]:
    """A name, a word, or the names that stand together in it: `xy` beside a number or a sign."""
    begin, end, spaced = place
    if len(piece) == 1:
        if piece == "U" and text[begin - 1 : begin] == " " and text[end : end + 1] == " ":
            return [Token("mark", "∪", *place)]
        is_name = piece.isascii() or "\u0370" <= piece <= "\u03ff" or piece in "∅ℝℤℕℚ"
        return [Token("name" if is_name else "word", piece, *place)]
    lower = piece.lower()
    if lower in FUNCTIONS or lower == "sqrt":
        return [Token("function" if lower in FUNCTIONS else "command", lower, *place)]
    if piece in ("pi", "Pi"):
        return [Token("name", "π", *place)]
    if lower in ("inf", "infinity"):
        return [Token("name", "∞", *place)]
    if piece.isascii() and piece.isupper() and len(piece) <= 4:
        return [Token("name", piece, *place)]
    beside = (text[begin - 1 : begin] or " ") + (text[end : end + 1] or " ")
    glued = any(char in "0123456789+-*/^=_<>" for char in beside)
    if len(piece) <= 3 and piece.isascii() and piece.islower() and (latex or glued) and not _is_word(piece):
        return [
            Token("name", letter, begin + i, begin + i + 1, spaced and i == 0)
            for i, letter in enumerate(piece)
        ]
    return [Token("word", piece, *place)]


def _is_word(piece: str) -> bool:
    return piece in UNIT_OF or piece in (
        "and",
        "or",
        "is",
        "th",
        "st",
        "nd",
        "rd",
        "per",
        "sq",
        "of",
        "the",
        "not",
    )
