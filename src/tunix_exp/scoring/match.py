"""Whether an extracted answer is the expected one, and by which rule: docs/scoring.md states them all.

The same text is always right. Otherwise both are read as values (number, formula, list, interval, equation,
time) and compared exactly, or, where one of them is no value, as texts.
"""

import functools
import re
from dataclasses import dataclass
from typing import Literal, get_args

from tunix_exp.scoring.equality import Undecided, equality, is_number
from tunix_exp.scoring.extract import extract
from tunix_exp.scoring.numerals import IN_WORDS, value_in_words
from tunix_exp.scoring.parse import parse
from tunix_exp.scoring.reading import layout, normalise, value_of
from tunix_exp.scoring.spans import spans
from tunix_exp.scoring.units import COMPARING, DENYING, OPERATING, unit_of
from tunix_exp.scoring.values import Amount, Value, Words

MatchRule = Literal[
    "identical", "text", "choice", "yes-no", "number", "rounded", "formula", "time", "list", "interval",
    "equation", "sentence", "math", "undecided", "none",
]  # fmt: skip

_MARKED = re.compile(r"\\(?:boxed|fbox)|</answer>|^####", re.MULTILINE)
_TRUTH = re.compile(r"(yes|no|true|false)(?![\w-])")
_CHOICE = re.compile(
    r"(?:(?:option|choice|answer)\s+)?(?:\((?P<inner>[A-Za-z])\)(?:[.:,]|(?=\s|$))|(?P<bare>[A-Za-z])(?:[.):,]|$))\s*",
    re.IGNORECASE,
)
_CHOICE_DENYING = re.compile(r"(?P<inner>)(?P<bare>[A-J])(?=\s*(?:non|不是|because|since|not)(?:\W|$))")
_FOR_SURE = re.compile(r"(?:for sure|certainly|definitely|clearly|probably|likely)\s+")
_DENIED = re.compile(
    r",?\s*\(?(?:and |but )?(?:not|rather than|instead of)\s.*|\s+(?:non|不是)\s*.*", re.DOTALL
)
_REASON = re.compile(r",?\s+(?:because|since)\s.*", re.DOTALL | re.IGNORECASE)
_REMARK = re.compile(r"(?<=\S)\s+\([^()]*\)$")
_COPULA = re.compile(r"[=≈]|(?<!\w)(?:is|are|was|were|equals)(?!\w)|[:：]\s", re.IGNORECASE)
_ROUGHLY = re.compile(
    r"(?:about|approximately|roughly|around|exactly|only|just|precisely|≈|~)\s*", re.IGNORECASE
)
_OR = re.compile(r"\s+or\s+", re.IGNORECASE)
_CALCULATED = re.compile(r"(?:[\w\s]|[.,:'$€£%°×*/+()=≈-])*")
_PROSE = re.compile(r"""(?:[^\W\d_]|[\s,.;:?'"()-])*""")
_GAP = frozenset(
    ["in", "on", "of", "at", "to", "for", "from", "by", "with", "each", "per", "left", "total", "altogether"]
)
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_DECIMAL_COMMA = re.compile(r"([-+]?[0-9]+),([0-9]{1,2}|[0-9]{4,})(?![0-9,])")
_LABEL = re.compile(r"\(?[A-J][).:]\s+(?=\S)")
_FORMULA = re.compile(r"[\\^_=<>≤≥∈∪√π]|[a-zA-Z0-9)][-+*/][a-zA-Z0-9(]")
_LONGEST_SENTENCE = 1_000
_MOST_ALTERNATIVES = 8


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the answer is right, and the rule that decided; `undecided` is wrong for want of a rule."""

    is_right: bool
    rule: MatchRule


def matches(extracted: str | None, expected: str) -> bool:
    """The extracted answer is the expected answer, or one of its alternatives; nothing matches None."""
    return compare(extracted, expected).is_right


def compare(extracted: str | None, expected: str) -> Verdict:
    """The verdict on `extracted`; the same text is always right, None never."""
    if extracted is None:
        return Verdict(False, "none")
    if extracted.strip() == expected.strip():
        return Verdict(True, "identical")
    verdict = _compared(extracted, expected)
    if verdict.is_right:
        return verdict
    marked = extract(expected) if _MARKED.search(expected) else None
    if marked is not None and marked.answer is not None and marked.answer != expected:
        other = compare(extracted, marked.answer)
        if other.is_right:
            return other
    for alternative in _alternatives(expected):
        other = _compared(extracted, alternative)
        if other.is_right:
            return other
    return verdict


def _alternatives(expected: str) -> list[str]:
    """What an expected answer offers: `0.5 or 50%`. Different numbers are all of the answer, not a choice."""
    parts = _OR.split(layout(expected))
    if not 1 < len(parts) <= _MOST_ALTERNATIVES:
        return []
    values = [value_of(part) for part in parts]
    first = values[0]
    if all(value is not None and not isinstance(value, Words) for value in values):
        assert first is not None
        if not all(_equal(value, first) for value in values if value is not None):
            return []
    return parts


@functools.lru_cache(maxsize=4_096)
def _values(text: str) -> tuple[Value, ...]:
    """The value that `text` is; a comma in brackets may part what it might also group."""
    readings = [value_of(text)]
    if re.search(r"[(\[{][^()\[\]{}]*[0-9],[0-9]{3}", text):
        readings.append(parse(text, grouped=False))
    return tuple(value for value in readings if value is not None)


def _equal(given: Value, wanted: Value) -> str | None:
    try:
        return equality(given, wanted)
    except Undecided:
        return None


def _compared(extracted: str, expected: str) -> Verdict:
    given, wanted = layout(extracted), layout(expected)
    if not given or not wanted:
        return Verdict(False, "none")
    if given == wanted:
        return Verdict(True, "text")
    truth, choice = _truth(given, wanted), _choice(given, wanted)
    if truth is not None:
        return Verdict(truth, "yes-no")
    if choice is not None:
        return Verdict(choice, "choice")
    if _TRUTH.match(given.casefold()) and re.match(r"\w+\s*[,.;:!]", given):
        return Verdict(False, "none")
    rule, undecided = _by_value(given, wanted)
    if rule is not None:
        return Verdict(True, rule)
    if _same_words(given, wanted):
        return Verdict(True, "text")
    return Verdict(False, "undecided" if undecided else "none")


def _by_value(given: str, wanted: str) -> tuple[MatchRule | None, bool]:
    """The rule by which a reading of `given` is the value of `wanted`; whether only the extra can tell."""
    wanted_values = _values(wanted)
    undecided = False
    for reading in _readings(given):
        for value in _values(reading):
            for want in wanted_values:
                try:
                    rule = equality(value, want)
                except Undecided:
                    undecided = True
                    continue
                if rule is not None:
                    assert rule in get_args(MatchRule)
                    return rule, False  # pyright: ignore[reportReturnType]
    for want in wanted_values:
        if is_number(want):
            stated = _stated(given)
            if stated is not None and _equal(stated, want):
                return "sentence", False
            if _decimal_comma(given, wanted):
                return "number", False
    return None, undecided


def _readings(given: str) -> list[str]:
    """The answer whole; without what it denies, explains or remarks; what stands after its last copula."""
    readings = [given]
    for pattern in (_DENIED, _REASON, _REMARK, _ROUGHLY, _LABEL):
        for reading in list(readings):
            anchored = pattern in (_ROUGHLY, _LABEL)
            found = pattern.match(reading) if anchored else pattern.search(reading)
            if found is not None and (anchored or found.start() > 0):
                rest = reading[found.end() :] if anchored else reading[: found.start()]
                readings.append(layout(rest))
    for reading in list(readings):
        tail = _after_copula(reading)
        if tail is not None:
            readings += [tail, layout(_ROUGHLY.sub("", tail, count=1))]
    return [reading for reading in dict.fromkeys(readings) if reading]


def _after_copula(text: str) -> str | None:
    """What is said to be the answer; None where the other side is a formula with symbols, or a denial."""
    copulas = list(_COPULA.finditer(text))
    if not copulas:
        return None
    found = copulas[-1]
    before, after = text[: found.start()], text[found.end() :]
    if not re.search(r"\w", before):
        return None
    if any(word in DENYING for word in _words(before)) or not after.strip():
        return None
    if found[0] in "=≈":
        calculated = _CALCULATED.fullmatch(before) and before.count("(") == before.count(")")
        if value_of(text) is not None or not calculated or _has_symbol(before):
            return None
    elif found[0].isalpha() and not isinstance(value_of(text), Words | None):
        return None
    return layout(after)


def _has_symbol(text: str) -> bool:
    """A letter stands alone in it that is no unit after a number."""
    text = re.sub(r"(?<=[0-9])\s?[^\W\d_]+(?:\s?/\s?[^\W\d_]+)?", "", text)
    return re.search(r"(?<![^\W\d_])[^\W\d_](?![^\W\d_])", text) is not None or "\\" in text


def _stated(text: str) -> Value | None:
    """The one number that a sentence states; None if none, several, denied, compared or calculated with."""
    if len(text) > _LONGEST_SENTENCE or (
        value_of(text) is not None and not isinstance(value_of(text), Words)
    ):
        return None
    found = [span for span in spans(text) if span.is_value]
    if not found:
        return _stated_in_words(text)
    if len(found) != 1:
        return None
    span = found[0]
    beside = text[: span.begin][-1:] + text[span.end :][:1]
    if not re.fullmatch(r"[\s,.;:?'\"()]*", beside):
        return None  # a piece of something
    before, after = _words(text[: span.begin]), _words(text[span.end :])
    near = _words(_COPULA.split(text[: span.begin])[-1])
    if any(word in DENYING for word in before + after) or any(word in OPERATING for word in near):
        return None
    if any(word in OPERATING - COMPARING for word in after):
        return None
    around = text[: span.begin] + " " + text[span.end :]
    if (
        not _PROSE.fullmatch(around)
        or around.count("(") != around.count(")")
        or re.search(r"(?<!\w)[b-hj-z](?!\w)", around, re.IGNORECASE)
    ):
        return None
    return _number_with_noun(text[span.begin : span.end], text[span.end :], alone=not before)


def _number_with_noun(source: str, rest: str, *, alone: bool) -> Value | None:
    value = value_of(layout(source))
    if not isinstance(value, Amount) or not value.is_done or value.formula.rational is None:
        return None
    words = _words(rest)
    if value.unit is None and words and words[0] not in _GAP:
        if unit_of(words[0]) is None:
            return None  # what follows is no word that can be counted
        if alone and len(words) <= 3:
            unit = unit_of(rest)
            if unit is None:
                return None
            return Amount(value.formula, unit, value.decimals, value.digits, value.is_plain)
    return value


def _stated_in_words(text: str) -> Value | None:
    found = [one for one in IN_WORDS.finditer(text) if one[0].casefold() != "one"] or list(
        IN_WORDS.finditer(text)
    )
    if len(found) != 1:
        return None
    others = _words(text[: found[0].start()]) + _words(text[found[0].end() :])
    if any(word in OPERATING - {"and"} for word in others):
        return None
    return value_of(f"{value_in_words(found[0])}")


def _words(text: str) -> list[str]:
    words = [found[0].casefold() for found in _WORD.finditer(text)]
    return [word for word in words if not word.endswith("n't")] + ["not"] * any(
        w.endswith("n't") for w in words
    )


def _decimal_comma(given: str, wanted: str) -> bool:
    """`1000,99` where `1000.99` is expected: a list cannot be meant."""
    found = _DECIMAL_COMMA.search(given)
    if (
        found is None
        or "." not in wanted
        or "," in wanted
        or re.search(r"[0-9]", given.replace(found[0], "", 1))
    ):
        return False
    if re.search(r"[(\[{]", given):
        return False
    want, value = value_of(wanted), value_of(f"{found[1]}.{found[2]}")
    return value is not None and want is not None and _equal(value, want) == "number"


def _same_words(given: str, wanted: str) -> bool:
    """Equal as texts but for case, where no letter of a formula differs in it."""
    goal = normalise(wanted)
    readings = [given, *(tail for tail in [_after_copula(given)] if tail is not None), _REMARK.sub("", given)]
    return any(
        normalise(reading) == goal and not (_is_formula(reading) and _is_formula(wanted))
        for reading in readings
    )


def _is_formula(text: str) -> bool:
    value = value_of(text)
    if value is None or isinstance(value, Words):
        return bool(_FORMULA.search(text))
    return not (len(text) == 1 and text.isalpha())


def _truth(given: str, wanted: str) -> bool | None:
    """Yes, no, true and false are compared as written (`true` is not `yes`), alone or opening a sentence."""
    goal = _TRUTH.fullmatch(wanted.casefold())
    opening = _TRUTH.match(given.casefold())
    if goal is None or opening is None:
        return None
    return opening[1] == goal[1]


def _choice(given: str, wanted: str) -> bool | None:
    """A letter that is a choice, alone, in brackets or before its text: `(B)`, `B. Paris`, `Option B`."""
    goal = _choice_of(wanted)
    if goal is None:
        return None
    letter, text = goal
    answer = _choice_of(_FOR_SURE.sub("", given, count=1))
    if answer is None and (tail := _after_copula(given)) is not None:
        answer = _choice_of(tail)
    if answer is None:
        named = re.search(r"[A-Z]", wanted[:2]) is not None and normalise(given) != normalise(text)
        return False if named else None
    if answer[0] != letter:
        return False
    if text and answer[1] and not re.search(r"(?i)^(?:because|since|as|it|not|the)\b", answer[1]):
        return normalise(answer[1]) == normalise(text)
    return True


def _choice_of(text: str) -> tuple[str, str] | None:
    text = " ".join(text.split())
    found = _CHOICE.match(text) or _CHOICE_DENYING.match(text)
    if found is None:
        return None
    letter, rest = found["inner"] or found["bare"], text[found.end() :]
    if rest and not letter.isupper():
        return None
    if found[0].rstrip().endswith(",") and re.match(r"(?:[A-Za-z0-9]|[-+(])(?![a-z])", rest):
        return None  # a list: `A, B`
    return letter.casefold(), rest
