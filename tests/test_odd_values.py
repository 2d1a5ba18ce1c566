"""Odd values of every key: refused by the key's name in a moment, or within bounds that make sense."""

import json
import math
import time
from typing import Any

import pytest

from tests.composing import GROUPS, composed, options
from tests.pace import slowness
from tunix_exp.config import leaves, validate
from tunix_exp.errors import UserError
from tunix_exp.schema import MOST_TEXT

ODD: dict[str, Any] = {
    "a twenty-digit number": 10**20 - 1,
    "a thirty-digit number": 10**30,
    "a number of five hundred digits": 10**500,
    "a negative one": -1,
    "zero": 0,
    "the largest float": 1.7e308,
    "a huge float": 1e308,
    "the least float": 5e-324,
    "no number": math.nan,
    "infinity": math.inf,
    "minus infinity": -math.inf,
    "nothing": None,
    "a truth": True,
    "an empty text": "",
    "a blank": " ",
    "a word": "x",
    "a number in quotes": "12",
    "a path of 300 characters": "./" + "d" * 298,
    "a path below a file": f"{__file__}/x",
    "a path of 5,000 characters": "/".join(["d" * 49] * 100),
    "5,000 characters": "y" * 5000,
    "more text than anybody writes": "z" * (MOST_TEXT + 1),
    "two lines": "one\ntwo",
    "a NUL": "a\0b",
    "an escape": "a\x1b[31mb",
    "a broken byte": "a\udcffb",
    "other letters": "日本語 π",
    "marks of Rich": "x[/b]",
    "a user who is not there": "~nobody-of-that-name/x",
    "a list": [1],
    "an empty list": [],
    "a list of texts": ["x"],
    "a list of blanks": [" "],
    "a mapping": {"x": 1},
    "an empty mapping": {},
}

# For every config class an option that is of it, in an experiment of a model that takes them all.
VARIED = ("optim", "eval", "adapter")
BASES: list[tuple[str, ...]] = [
    *(("model=gpt2", f"{group}={option}") for group in VARIED for option in options(group)),
    ("model=tiny-gemma2",),
    ("model=tiny-llama",),
    ("model=tiny-recurrentgemma",),
]


def places() -> dict[tuple[str, str], tuple[str, ...]]:
    """Every leaf key once for each class that has it, with the words that choose the class."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for words in BASES:
        plain = composed(*words)
        config = validate(plain)
        for key, _ in leaves(plain):
            found.setdefault((key, type(getattr(config, key.split(".")[0])).__name__), words)
    return found


PLACES = places()


def changed(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    copy = json.loads(json.dumps(config))
    place = copy
    *groups, leaf = key.split(".")
    for group in groups:
        place = place[group]
    place[leaf] = value
    return copy


@pytest.mark.parametrize("place", PLACES, ids=" ".join)
def test_an_odd_value_is_refused_by_its_key_or_keeps_within_its_bounds(place):
    key, config = place[0], composed(*PLACES[place])
    for called, value in ODD.items():
        begun = time.thread_time()
        found = outcome(changed(config, key, value), key)
        seconds = time.thread_time() - begun
        assert seconds < 1 or seconds < slowness(), called  # which takes time itself to tell
        if isinstance(found, UserError):
            assert key in str(found), (called, str(found))
            assert len(str(found)) < 2000, called
        else:
            assert makes_sense(found), (called, found)


def outcome(config: dict[str, Any], key: str) -> Any:
    """The key's value in the validated config, or the refusal."""
    try:
        found: Any = validate(config).model_dump(mode="json")
    except UserError as error:
        return error
    for part in key.split("."):
        found = found[part]
    return found


def makes_sense(value: Any) -> bool:
    """A number that int and float spell alike, a text that a file can hold, or a list of such."""
    match value:
        case None | bool():
            return True
        case int():
            return 0 <= value < 2**32 and int(float(value)) == value
        case float():
            return 0 <= value < 2**53
        case str():
            value.encode()
            return len(value) <= MOST_TEXT and not any(c < " " and c not in "\n\t" for c in value)
    return all(map(makes_sense, value))


def test_every_key_of_every_option_is_tried():
    tried = {key for key, _ in PLACES} | {"name", "seed"}
    for group in GROUPS:
        for option in options(group):
            body = composed(f"{group}={option}")[group]
            assert {key for key, _ in leaves({group: body})} <= tried
    assert len(PLACES) > 110
