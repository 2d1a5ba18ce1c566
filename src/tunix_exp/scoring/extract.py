r"""The answer that a model's output gives.

The first rule that finds something decides: an `<answer>` tag, `\boxed{…}`, a `#### N` line, an answer
line (`Answer: …`, `The answer is …`), the last number, or a short line that is the whole output. Within a
rule the last occurrence that holds something counts.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from tunix_exp.scoring.quantity import NUMBER
from tunix_exp.scoring.text import plain

EXTRACTOR_VERSION = "v1"

_TAIL = 20_000
"""Characters of the output's end that are read, about 5,000 tokens. Only the last occurrence counts, and
what so much text follows is not the answer that the output ends on. It bounds the time."""

_LONGEST_ANSWER = 2_000
"""Characters. What is longer is a text, not an answer."""

_WHOLE_LINE_WORDS = 8

Rule = Literal["tag", "boxed", "hashes", "answer-line", "last-number", "whole-line", "none"]


@dataclass(frozen=True, slots=True)
class Extraction:
    """The answer, and the rule that found it; None and "none" where there is no answer."""

    answer: str | None
    rule: Rule


# Ends of sequence and of turn, as decoding may leave them; a line ends there.
_SPECIAL = re.compile(r"<\|[^|<>\s]{1,40}\|>|</?s>|<(?:eos|bos|pad|unk|end_of_turn|start_of_turn)>")
_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE | re.ASCII)
_BRACE = re.compile(r"(\\(?:boxed|fbox)[ \t]?\{)|\\.|\{|(\})", re.DOTALL)
_HASHES = re.compile(r"^[ \t]{0,9}####[ \t]{0,9}([^\n#]{1,200})$", re.MULTILINE)
# Each repetition is bounded: the search never reads a character more than a fixed number of times.
_MARKER = re.compile(
    r"""
    (?<![^\W_])(?:answer|ans)(?![^\W_])[*_`]{0,4}
    (?:
        [ \t]{0,4}[:=：][*_`]{0,4}
      | (?P<verb>(?:[ \t](?:to|of|for)[ \t][^\n.:=]{1,80}?)?[ \t]{1,4}(?:is|was|equals)(?![^\W_])[ \t]{0,4}:?)
      | [*_`: \t]{0,9}$
    )
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII | re.MULTILINE,
)
_VERDICT = re.compile(r"\s*(?:correct|incorrect|right|wrong|reasonable|as follows)\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<!\b[A-Z])(?<!\b[A-Z][a-z])(?<!\b[A-Z][a-z]{2})[.!?][*_`]{0,4}(?=\s+[A-Z*(])")


def extract(text: str) -> Extraction:
    """The answer by the first rule that finds one, as it is written but for surrounding space and markup."""
    text = _SPECIAL.sub("\n", text[-_TAIL:])
    for rule, answers in _rules():
        for candidate in answers(text):
            answer = _clean(candidate)
            if answer and len(answer) <= _LONGEST_ANSWER:
                return Extraction(answer, rule)
    return Extraction(None, "none")


def _rules() -> tuple[tuple[Rule, Callable[[str], Iterator[str]]], ...]:
    return (
        ("tag", _tagged),
        ("boxed", _boxed),
        ("hashes", _hashed),
        ("answer-line", _answer_lines),
        ("last-number", _numbers),
        ("whole-line", _whole_line),
    )


def _clean(answer: str) -> str:
    answer = answer.strip().strip("*_`~").strip()
    return answer.removesuffix(".").rstrip("*_`~ ") if not answer.endswith("..") else answer


# Each rule's answers, the last first.


def _tagged(text: str) -> Iterator[str]:
    closed: int | None = None
    for tag in reversed(list(_TAG.finditer(text))):
        if tag[1]:
            closed = tag.start()
        elif closed is not None:
            yield _inside(text[tag.end() : closed])
            closed = None


def _inside(content: str) -> str:
    """What a tag holds; a marked answer inside it is the answer."""
    for answers in (_boxed, _hashed, _answer_lines):
        for answer in answers(content):
            if _clean(answer):
                return answer
    return content


def _boxed(text: str) -> Iterator[str]:
    """The contents of closed boxes, by where they close."""
    open_braces: list[int | None] = []
    boxes: list[tuple[int, int]] = []
    if "\\boxed" in text or "\\fbox" in text:
        for brace in _BRACE.finditer(text):
            if brace[1]:
                open_braces.append(brace.end())
            elif brace[0] == "{":
                open_braces.append(None)
            elif brace[2] and open_braces:
                begin = open_braces.pop()
                if begin is not None:
                    boxes.append((begin, brace.start()))
    return (text[begin:end] for begin, end in reversed(boxes))


def _hashed(text: str) -> Iterator[str]:
    """Lines `#### N`; a heading such as `#### Step 3` or `#### 3. Result` is none."""
    for line in reversed(list(_HASHES.finditer(text))):
        answer = plain(line[1]).strip()
        number = NUMBER.match(answer)
        if number is None:
            continue
        rest = answer[number.end() :].rstrip(" .")
        if not re.match(r"[.):]\s*\S", rest) and len(rest.split()) <= 3:
            yield line[1]


def _answer_lines(text: str) -> Iterator[str]:
    """What follows each marker, up to the end of the sentence, the line or the next marker."""
    end = len(text)
    for marker in reversed(list(_MARKER.finditer(text))):
        rest = text[marker.end() : min(end, marker.end() + _LONGEST_ANSWER)]
        end = marker.start()
        if marker["verb"] is not None and _VERDICT.match(rest):
            continue
        line = rest.lstrip("\n\r\t *_`:").partition("\n")[0]
        yield _SENTENCE_END.split(line, maxsplit=1)[0]


def _numbers(text: str) -> Iterator[str]:
    for number in reversed(list(NUMBER.finditer(plain(text)))):
        yield number[0]


def _whole_line(text: str) -> Iterator[str]:
    line = text.strip()
    if "\n" not in line and len(line.split()) <= _WHOLE_LINE_WORDS and not _MARKER.search(line):
        yield line
