"""The base of every config class, and the types of its numbers and words: none is without bounds.

A bound is far above what anybody has meant so far, and far below what a machine breaks on: whole numbers
pass through floats unchanged, powers of two of them fit the indices of arrays, and positive floats are
normal in float32.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Config(BaseModel):
    """Frozen (and hashable), strict, and closed: an unknown key or a wrong type is refused, not coerced."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )


MOST_STEPS = MOST_ROWS = 10**9  # 30 years of steps, one a second; the rows of a large web crawl
MOST_TOKENS = 2**24  # ten times the longest context that any model has been published with
MOST_BATCH = 2**20
MOST_LAYERS = 2**10
MOST_WIDTH = 2**20
MOST_DEVICES = 2**20
MOST_SEED = 2**32 - 1  # what Grain and NumPy take
LEAST = 1e-30  # a positive number below it may be zero in float32

Steps = Annotated[int, Field(ge=1, le=MOST_STEPS)]
Epochs = Annotated[float, Field(ge=LEAST, le=1e6)]
Rows = Annotated[int, Field(ge=1, le=MOST_ROWS)]
Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
BatchSize = Annotated[int, Field(ge=1, le=MOST_BATCH)]
Layers = Annotated[int, Field(ge=1, le=MOST_LAYERS)]
Width = Annotated[int, Field(ge=1, le=MOST_WIDTH)]
Devices = Annotated[int, Field(ge=1, le=MOST_DEVICES)]
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Small = Annotated[float, Field(ge=LEAST, le=1)]
Scale = Annotated[float, Field(ge=LEAST, le=1e9)]

MOST_NAME, MOST_TEXT = 100, 100_000
_SHOWN = 60
# But for LaTeX's commands, as \neq.
_BACKSLASH_N = re.compile(r"\\n(?!(?:abla|e|eg|eq|ewline|exists|i|mid|ot|otin|u)(?![a-z]))")
CONTRADICT = "cannot be combined"


def refuse_unprintable(value: str, *, allowed: str) -> None:
    """Nothing, or a `ValueError` that names the first control character or broken byte."""
    for place, character in enumerate(value):
        # Surrogates are bytes of the command line that are no UTF-8; no file could be written with them.
        if unicodedata.category(character) in ("Cc", "Cs") and character not in allowed:
            what = "byte that is not UTF-8" if character >= "\ud800" else "control character"
            raise ValueError(f"character {place + 1} is a {what}, U+{ord(character):04X}: take it out")


def _name(value: str) -> str:
    if not value.strip():
        raise ValueError("the name is empty: write one")
    if len(value) > MOST_NAME:
        raise ValueError(
            f"the name has {len(value):,} characters: at most {MOST_NAME} can be read in a table"
        )
    refuse_unprintable(value, allowed="")
    return value


def _text(value: str) -> str:
    if len(value) > MOST_TEXT:
        raise ValueError(f"the text has {len(value):,} characters: {MOST_TEXT:,} is the most")
    refuse_unprintable(value, allowed="\n\t")
    return value


def written(value: Any) -> str:
    """The value as it is written on a command line."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case tuple() | list():
            return f"[{','.join(map(written, value))}]"
        case Mapping():
            return "{…}"
    return str(value)


def _line_ends(value: str) -> str:
    if _BACKSLASH_N.search(value):
        raise ValueError(
            "a backslash and an n are no line end; bash makes one of them where the word is written"
            """ as $'KEY="…\\n…"'"""
        )
    return value


def shown(value: Any) -> str:
    """The value as Python writes it, cut where it is long."""
    whole = repr(value)
    return whole if len(whole) <= 2 * _SHOWN else f"{whole[: 2 * _SHOWN]}…"


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[:-1] else words)


def contradiction(values: Mapping[str, Any], says: str) -> str:
    """Every key beside its value, and what to do about them."""
    sides = []
    for key, value in values.items():
        word = written(value)
        sides.append(f"`{key}={word if len(word) <= _SHOWN else word[: _SHOWN - 1] + '…'}`")
    return f"{listed(sides)} {CONTRADICT}: {says}"


Name = Annotated[str, AfterValidator(_name)]
"""What is shown in tables and logs: something to read, on one line."""

Text = Annotated[str, AfterValidator(_text)]
"""What is put before a model."""

Written = Annotated[Text, AfterValidator(_line_ends)]
"""A text that is typed, not read from data."""
