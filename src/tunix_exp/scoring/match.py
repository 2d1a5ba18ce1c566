"""Whether an extracted answer is the expected one.

Equal after normalisation, or equal as numbers, or equal item by item as lists. The rules that are choices:

- Case, surrounding quotes, punctuation and markup, LaTeX and Unicode variants do not count.
- A unit contradicts only another unit: `58 km/h` answers an expected `58`, `58` answers `58 km/h`,
  `58 km` does not. Units are never converted; `50%` is also 0.5.
- A sentence counts as the one number it states; two numbers are a hedge and count as none.
- What stands after the last `=` or `is` counts as the answer; a bracket at the end is a remark.
- Yes, no, true and false are compared as written (`true` is not `yes`), alone or opening a sentence.
- An expected answer `0.5 or 50%` lists alternatives; an output that lists alternatives hedges.
"""

import re
from fractions import Fraction

from tunix_exp.scoring.quantity import only_quantity, single_quantity
from tunix_exp.scoring.text import plain

RELATIVE_TOLERANCE = Fraction(1, 10**6)
"""Six correct digits of a rounded value count (0.333333 for 1/3), four do not; integers must be equal."""

_LEADING = re.compile(r"""(?:[\s"'`*_~,;:!?>#]|\.\.+|\.(?![0-9])|-+\s+(?![0-9.$€£¥₹]))+""")
_TRAILING = " \"'`*_~.,;:!?"
_BRACKETS = (("(", ")"), ("[", "]"), ("<", ">"))
_VERDICT = re.compile(r"(yes|no|true|false)(?![\w-])(?=\W|$)")
_CHOICE = re.compile(r"\(?([a-z])(?:[).:](?=\s|$)|$)")
_COPULA = re.compile(r"[=≈]|(?<!\w)(?:is|are|equals)(?!\w)")
_THE = re.compile(r"(?:the )+")
_SEPARATOR = re.compile(r"\s*;\s*|,\s+(?:and\s+)?|,(?![0-9]{3}(?![0-9]))|\s+and\s+")
_REMARK = re.compile(r"(?<=\S)\s+\([^()]*\)$")


def normalise(answer: str) -> str:
    """The answer without what is only typography; normalising again changes nothing.

    An answer that is nothing but punctuation keeps it.
    """
    while (simpler := _simplified(answer)) != answer:
        answer = simpler
    return answer


def _simplified(answer: str) -> str:
    text = " ".join(plain(answer).casefold().split())
    leading = _LEADING.match(text)
    stripped = text[leading.end() :] if leading else text
    stripped = stripped.rstrip(_TRAILING)
    for opening, closing in _BRACKETS:
        if stripped.startswith(opening) and stripped.endswith(closing):
            inner = stripped[1:-1]
            if opening not in inner and closing not in inner:
                stripped = inner.strip()
    article = _THE.match(stripped)
    stripped = stripped[article.end() :] if article else stripped
    return stripped.strip() or text


def matches(extracted: str | None, expected: str) -> bool:
    """The extracted answer is the expected answer, or one of its alternatives; nothing matches None."""
    if extracted is None:
        return False
    answer = normalise(extracted)
    alternatives = [expected, *re.split(r"\s+or\s+", expected, flags=re.IGNORECASE)]
    return any(_is_answer(answer, extracted, normalise(alternative)) for alternative in alternatives)


def _is_answer(answer: str, extracted: str, expected: str) -> bool:
    if answer == expected:
        return True
    if not answer or not expected:
        return False
    if _VERDICT.fullmatch(expected):
        opening = _VERDICT.match(answer)
        if opening is not None:
            return opening[1] == expected
    if len(expected) == 1 and expected.isalpha():
        choice = _CHOICE.match(" ".join(plain(extracted).casefold().split()).lstrip("*_`"))
        if choice is not None:
            return choice[1] == expected
    if "=" in expected and "=" not in answer:
        expected = normalise(expected.rpartition("=")[2])
    return any(
        reading == expected or _same_number(reading, expected) or _same_list(reading, expected)
        for reading in _readings(answer)
    )


def _readings(answer: str) -> set[str]:
    """The answer whole, without a closing remark, and what stands after its last copula."""
    readings = {answer, normalise(_REMARK.sub("", answer))}
    return readings | {normalise(_COPULA.split(reading)[-1]) for reading in readings}


def _same_number(answer: str, expected: str) -> bool:
    wanted = only_quantity(expected)
    if wanted is None:
        return False
    given = single_quantity(answer)
    return given is not None and given.agrees_with(wanted, tolerance=RELATIVE_TOLERANCE)


def _same_list(answer: str, expected: str) -> bool:
    """Equal item by item, in order; `1,234` is tried as a number and as two items."""
    if not (_SEPARATOR.search(answer) or "," in answer or _SEPARATOR.search(expected) or "," in expected):
        return False
    return any(
        len(given) == len(wanted) > 1
        and all(one == two or _same_number(one, two) for one, two in zip(given, wanted, strict=True))
        for given in _item_lists(answer)
        for wanted in _item_lists(expected)
    )


def _item_lists(text: str) -> list[list[str]]:
    if not (_SEPARATOR.search(text) or "," in text):
        return [text.split()]
    splits = (_SEPARATOR.split(text), text.split(","))
    return [[normalise(item) for item in items if item.strip()] for items in splits]
