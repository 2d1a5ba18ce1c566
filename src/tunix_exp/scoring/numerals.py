"""Numbers in words: `forty-two`, `minus seven`, `one hundred and five`, `three quarters`."""

import re
from fractions import Fraction

_ONES = """
    zero one two three four five six seven eight nine ten
    eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen
"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_VALUE = {word: value for value, word in enumerate(_ONES.split())} | {
    word: 20 + 10 * place for place, word in enumerate(_TENS.split())
}
SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {"half": 2, "halve": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "eighth": 8}
_PARTS |= {"seventh": 7, "ninth": 9, "tenth": 10, "hundredth": 100, "thousandth": 1000}
MULTIPLES = {"dozen": 12} | {word: value for word, value in SCALES.items() if value > 100} | {"hundred": 100}


def _any(words: list[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_WORD = _any([*_VALUE, *SCALES])
_PART = _any(list(_PARTS))
# Possessive and bounded: the time is linear.
IN_WORDS = re.compile(
    rf"""
    (?<![\w-])(?:(?P<minus>minus|negative)[ ])?
    (?:
        (?P<above>(?:an?|{_WORD}))[ -](?P<part>{_PART})s?
      | (?P<half>half)
      | (?P<words>(?:an?[ ](?=hundred|thousand|million))?(?:{_WORD})
            (?:(?:[ ]and[ ]|[ -])(?:{_WORD})){{0,15}}+)
        (?:[ ]and[ ]an?[ ](?P<rest>half|third|quarter))?
        (?P<dozen>[ ]dozen)?
    )(?![\w-])
    """,
    re.VERBOSE | re.IGNORECASE,
)


def value_in_words(found: re.Match[str]) -> Fraction:
    """The value of a match of `IN_WORDS`."""
    if found["part"] is not None:
        above = 1 if found["above"] in ("a", "an") else _whole(found["above"])
        value = Fraction(above, _PARTS[found["part"].lower()])
    elif found["half"] is not None:
        value = Fraction(1, 2)
    else:
        value = Fraction(_whole(found["words"]))
        if found["rest"] is not None:
            value += Fraction(1, _PARTS[found["rest"].lower()])
        if found["dozen"] is not None:
            value *= 12
    return -value if found["minus"] else value


def _whole(words: str) -> int:
    total, group = 0, 0
    for word in re.split(r"[ -]", words.lower()):
        if word in ("a", "an"):
            group = 1
        elif word == "hundred":
            group = max(group, 1) * 100
        elif word in SCALES:
            total, group = total + max(group, 1) * SCALES[word], 0
        elif word != "and":
            group += _VALUE[word]
    return total + group
