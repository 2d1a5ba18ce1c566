r"""The answer that a model's output gives.

The last mark in the text counts: an `<answer>` tag, `\boxed{…}`, a `#### …` line, an answer line
(`Answer: …`, `The answer is …`), `Option B`, a last sentence `So … is …`. A mark inside another is the same
mark. Where there is none, an output that opens with a choice or with yes or no is that; else the last value
that stands in the text as a whole counts, with all that belongs to it; else a short line that is the whole
output. An answer is never a piece of a value: where the end of the text does not read as one, there is none.
"""

import functools
import re
from dataclasses import dataclass

from tunix_exp.scoring.marks import (
    LONGEST_ANSWER,
    MARKER,
    MATH,
    SENTENCE_END,
    TAG,
    Rule,
    clean,
    first_sentence,
    is_answer_like,
    marks,
    within,
)
from tunix_exp.scoring.parse import is_formal
from tunix_exp.scoring.reading import layout, value_of
from tunix_exp.scoring.spans import Span, spans
from tunix_exp.scoring.values import Amount, Relation, Value

EXTRACTOR_VERSION = "v2"

LONGEST_OUTPUT = 20_000
"""Characters of the output's end that are read, about 5,000 tokens. Only the last mark counts, and what so
much text follows is not the answer that the output ends on. It bounds the time."""

_WHOLE_LINE_WORDS = 8
_READ_BACK = 500
_LAST = 2_000
"""Characters at the end in which the last value is looked for."""


@dataclass(frozen=True, slots=True)
class Extraction:
    """The answer, and the rule that found it; None and "none" where there is no answer."""

    answer: str | None
    rule: Rule


# Ends of sequence and of turn, as decoding may leave them; a line ends there.
_SPECIAL = re.compile(r"<\|[^|<>\s]{1,40}\|>|</?s>|<(?:eos|bos|pad|unk|end_of_turn|start_of_turn)>")
_CALCULATOR = re.compile(r"<<[^<>\n]{0,200}>>")
_OPEN_BOX = re.compile(r"\\(?:boxed|fbox)[ \t]?\{(?=[^{}]*$)")
_OPENING = re.compile(
    r"[*_`(\"]{0,3}(?:(?:yes|no|true|false)(?=[*_`\"]{0,2}\s?[,.;:!—-])|\(?[A-J]\)?[*_`]{0,2}(?:[.:,)](?=\s)|[.。不](?=\s?[^\x00-\x7f])))",
    re.IGNORECASE,
)
_CONCLUSION = re.compile(
    r"(?:^|(?<=[\s,;]))(?:so|thus|hence|therefore|consequently|donc|finally|in conclusion)\b", re.IGNORECASE
)
_IS = re.compile(
    r"(?:\s|(?<=['’]))(?:is|are|was|were|be|equals|est|it's|(?<=['’])s)\s+(?!not\b)", re.IGNORECASE
)
_DENIAL = re.compile(r"(?<!\w)(?:not|rather than|instead of)\s*$", re.IGNORECASE)
# What stands right before a number and makes it a part of a calculation in words.
_CALCULATION = re.compile(
    r"(?:(?<!\w)(?:half|third|quarter|root|square|cube|percent|percentage|logarithm|factorial|double|reciprocal|"
    r"opposite|negative|out)|%)\s+of\s*$"
    r"|[\d)]\s*\w*\s+(?:times|plus|minus|over|divided by|multiplied by|mod)\s*$",
    re.IGNORECASE,
)
# A calculation with units or money, of which the last side is the result: `$400 + $60`, `6 miles / 1 hour`.
_WITH_UNITS = re.compile(r"(?:[\d.,\s+*/×x÷$€£¥%()=−–-]|(?<=\d)\s?[mghslL](?!\w)|[A-Za-z]{2,})+")
_PIECE_WORDS = frozenset(
    ["twice", "thrice", "double", "triple", "half", "root", "log", "squared", "cubed", "factorial"]
)


@functools.lru_cache(maxsize=4_096)
def extract(text: str) -> Extraction:
    """The answer of the last mark, or the last value where none stands, as it is written."""
    text = without_ends(text[-LONGEST_OUTPUT:])
    found = marks(text)
    last_line = text.rstrip().rfind("\n") + 1
    concluded = _conclusion(text.strip()) if found and found[-1].end <= last_line else None
    if concluded is not None and is_answer_like(concluded):
        return Extraction(concluded, "conclusion")
    for mark in reversed(found):
        answer = clean(mark.content)
        if answer and len(answer) <= LONGEST_ANSWER:
            return Extraction(answer, mark.rule)
    return _unmarked(text)


def without_ends(text: str) -> str:
    """The text, a new line in the place of each end of sequence or turn."""
    return _SPECIAL.sub("\n", text)


# Without a mark.


def _unmarked(text: str) -> Extraction:
    whole = TAG.sub("\n", _OPEN_BOX.sub(" ", _CALCULATOR.sub("", text))).strip()
    short = "\n" not in whole and len(whole.split()) <= _WHOLE_LINE_WORDS
    if _OPENING.match(whole):
        first = first_sentence(whole) if not re.match(r"\W*[A-Ja-j]\W", whole) else whole.partition("\n")[0]
        if len(first) <= LONGEST_ANSWER and clean(first):
            return Extraction(clean(first), "opening")
    value = value_of(layout(whole)) if len(whole) <= _READ_BACK and "\n\n" not in whole else None
    if value is not None and is_formal(value):
        return Extraction(_result(clean(whole), value), "last-number")
    concluded = _conclusion(whole)
    if concluded is not None:
        return Extraction(concluded, "conclusion")
    tail = whole[-_LAST:]
    found = [span for span in spans(tail) if span.is_value]
    found = [span for span in found if not _DENIAL.search(tail[max(0, span.begin - 24) : span.begin])]
    if found:
        answer = _value_at(tail, found[-1])
        if answer is not None or not (short and whole.startswith("\\text")):
            return Extraction(answer, "last-number" if answer else "none")
    if short and clean(whole) and not MARKER.search(whole):
        return Extraction(clean(whole), "whole-line")
    return Extraction(None, "none")


def _conclusion(text: str) -> str | None:
    """What a last sentence that begins with `so`, `thus` or `therefore` says something to be."""
    line = text.rpartition("\n")[2][-1_000:].strip()
    cuts = [(found.start(), found.end()) for found in MATH.finditer(line)]
    ends = [found.end() for found in SENTENCE_END.finditer(line) if not within(found.start(), cuts)]
    ends = [end for end in ends if line[end:].strip(" *_`.")]
    sentence = line[ends[-1] :] if ends else line
    opening = _CONCLUSION.search(sentence)
    verbs = list(_IS.finditer(sentence, opening.end())) if opening is not None else []
    if not verbs:
        return None
    answer = clean(sentence[verbs[-1].end() :])
    if not answer or len(answer.split()) > _WHOLE_LINE_WORDS:
        return None
    value = value_of(layout(answer))
    is_choice = re.fullmatch(r"\(?[A-J]\)?", answer) is not None
    if is_choice or (is_formal(value)):
        return answer
    return None if any(span.is_value for span in spans(text[-_LAST:])) else answer


def _value_at(text: str, span: Span) -> str | None:
    """The whole value in the span; None where the span is no value, or words beside it change it."""
    source = text[span.begin : span.end]
    answer = clean(source)
    value = value_of(layout(answer))
    around = (text[span.begin - 1 : span.begin] if span.begin else "") + text[span.end : span.end + 1]
    if re.search(r"[A-Za-z0-9\\_]", around):
        return None  # a piece of a word
    line = text.rfind("\n", 0, span.begin) + 1
    if text.count("\\text{", line, span.begin) > text.count("}", line, span.begin):
        return None  # a piece of words
    if _CALCULATION.search(text[max(0, span.begin - 40) : span.begin]):
        return None
    before = re.findall(r"[a-z]+", text[max(0, span.begin - 24) : span.begin].lower())
    after = re.match(r"\s*([a-z]+)", text[span.end : span.end + 24].lower())
    if (before and before[-1] in _PIECE_WORDS) or (after is not None and after[1] in _PIECE_WORDS):
        return None
    if value is not None and is_formal(value):
        return _result(answer, value)
    calculation, sign, last = answer.rpartition("=")
    if sign and _WITH_UNITS.fullmatch(calculation) and is_formal(value_of(layout(last))):
        return clean(last)
    delimited = re.fullmatch(MATH, source.strip())
    return answer if delimited is not None else None


def _result(answer: str, value: Value) -> str:
    """The last side of a calculation with numbers (`15 + 27 = 42`); other answers whole."""
    if isinstance(value, Relation) and set(value.signs) <= {"=", "≈"}:
        first = value.sides[0]
        if isinstance(first, Amount) and first.formula.rational is not None:
            last = answer.split("=")[-1].strip()
            result = value_of(layout(last)) if not re.search(r"[$\\]", answer) else None
            if isinstance(result, Amount) and result.formula.value() is not None:
                return last
    return answer
