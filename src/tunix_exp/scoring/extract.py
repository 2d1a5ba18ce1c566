r"""The answer that a model's output gives.

The last mark in the text counts: an `<answer>` tag, `\boxed{…}`, a `#### …` line, an answer line
(`Answer: …`, `The answer is …`), `Option B`, a last sentence `So … is …`. A mark inside another is the same
mark. Where there is none, an output that opens with a choice or with yes or no is that; else the last value
that stands in the text as a whole counts, with all that belongs to it; else a short line that is the whole
output. An answer is never a piece of a value: where the end of the text does not read as one, there is none.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tunix_exp.scoring.parse import is_formal
from tunix_exp.scoring.reading import layout, value_of
from tunix_exp.scoring.spans import Span, spans
from tunix_exp.scoring.values import Amount, Relation, Value

EXTRACTOR_VERSION = "v2"

_TAIL = 20_000
"""Characters of the output's end that are read, about 5,000 tokens. Only the last mark counts, and what so
much text follows is not the answer that the output ends on. It bounds the time."""

_LONGEST_ANSWER = 2_000
"""Characters. What is longer is a text, not an answer."""

_WHOLE_LINE_WORDS = 8
_READ_BACK = 2_000

Rule = Literal[
    "tag", "boxed", "hashes", "answer-line", "choice", "opening", "conclusion", "last-number", "whole-line",
    "none",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Extraction:
    """The answer, and the rule that found it; None and "none" where there is no answer."""

    answer: str | None
    rule: Rule


@dataclass(frozen=True, slots=True)
class _Mark:
    begin: int
    end: int
    content: str
    rule: Rule


# Ends of sequence and of turn, as decoding may leave them; a line ends there.
_SPECIAL = re.compile(r"<\|[^|<>\s]{1,40}\|>|</?s>|<(?:eos|bos|pad|unk|end_of_turn|start_of_turn)>")
_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE | re.ASCII)
_OPEN_BOX = re.compile(r"\\(?:boxed|fbox)[ \t]?\{(?=[^{}]*$)")
_BRACE = re.compile(r"(\\{1,2}(?:boxed|fbox)[ \t]?\{)|\\.|\{|(\})", re.DOTALL)
_HASHES = re.compile(r"^[ \t]{0,9}####(?!#)[ \t]{0,9}([^\n#]{1,400})$", re.MULTILINE)
_HEADING = re.compile(
    r"(?:step|part|case|section|phase|method|approach|solution|conclusion|summary|result|verification|check|"
    r"analysis|explanation|reasoning|problem|question|given|example|note|answer|final answer)s?\b"
    r"(?![ \t]*[:=][ \t]*\S)"
    r"|(?:step|part|case|section|phase|method)s?\b|\(?[0-9]{1,2}[.):][ \t]+[^\W\d_]",
    re.IGNORECASE,
)
# Each repetition is bounded: the search never reads a character more than a fixed number of times.
_LEFT, _RIGHT = r"(?<![^\W_])", r"(?![^\W_])"
_MARKER = re.compile(
    rf"""
    (?:
        {_LEFT}(?:answers?|ans|réponse|respuesta|antwort|risposta|resposta|ответ){_RIGHT}[*_`]{{0,4}}
        (?:
            [ \t]{{0,4}}(?:[:=：]|\\?:)[*_`]{{0,4}}
          | (?P<verb>(?:[ \t](?:to|of|for)[ \t][^\n.:=]{{1,80}}?)?
              [ \t]{{1,4}}(?:(?:must|should|would|will|has[ ]to|can[ ]only)[ ]be
              |is|was|are|equals|est|es|ist|è|é)
              {_RIGHT}[ \t]{{0,4}}[:：]?)
          | [*_`: \t]{{0,9}}$
          | [ \t]{{1,4}}(?=\\[(\[]|\$)
        )
      | 答案(?:是|为|為)?[ \t]{{0,4}}[:：]?
    )
    """,
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
_VERDICT = re.compile(
    r"\s*(?:correct|incorrect|right|wrong|reasonable|as follows|not|obvious|clear|the same)\b", re.IGNORECASE
)
_SENTENCE_END = re.compile(
    r"(?<!\b[A-Z])(?<!\bSt)(?<!\bDr)(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bMt)(?<!\bJr)(?<!\bSr)(?<!\bvs)(?<!\bNo)(?:[.?]|(?<=[^\W\d_]{2})!)[*_`]{0,4}(?=\s+[A-Z*(\[<\\\"$#]|[\s*_`]*$)|。|(?<=[^\W\da-zA-Z_])[.](?=\s)"
)
_MATH = re.compile(
    r"\$\$(?:[^$\\]|\\.){1,4000}?\$\$|(?<!\\)\$(?:[^$\\\n]|\\[^\n]){1,2000}?\$(?!\d)"
    r"|\\\((?:[^\\]|\\[^()]){1,2000}?\\\)|\\\[(?:[^\\]|\\[^\[\]]){1,4000}?\\\]",
    re.DOTALL,
)
_OPTION = re.compile(
    r"(?<!\w)(?P<denied>not[ ](?:the[ ])?)?(?:option|choice|choose|chose|pick|select|go[ ]with)[ ](?:is[ ])?"
    r"[*_]{0,2}\(?(?P<letter>[A-J])\)?(?![\w'])(?![ ](?:is|was|are|cannot|can't|isn't|would|and|or|has)\b"
    r"(?![ ](?:correct|right|the[ ](?:correct|right|best|answer))))",
    re.IGNORECASE,
)
_JOINED = re.compile(
    r"(?:[\s,;$]|\\[()\[\],;:! ]|\\q?quad|(?:\\text[a-z]{0,6}\s?\{)?\s?(?:and|or)\s?\}?|\}){0,12}"
    r"(?:[a-zA-Z](?:_\{?\w\}?)?\s*=\s*)?"
)
_NOUN_JOINED = re.compile(r"\s[a-z]{2,14}\s(?:and|or)\s")
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
_PIECE_WORDS = frozenset(
    ["twice", "thrice", "double", "triple", "half", "root", "log", "squared", "cubed", "factorial"]
)


def extract(text: str) -> Extraction:
    """The answer of the last mark, or the last value where none stands, as it is written."""
    text = without_ends(text[-_TAIL:])
    marks = _marks(text)
    last_line = text.rstrip().rfind("\n") + 1
    concluded = _conclusion(text.strip()) if marks and marks[-1].end <= last_line else None
    if concluded is not None and _is_answer_like(concluded):
        return Extraction(concluded, "conclusion")
    for mark in reversed(marks):
        answer = _clean(mark.content)
        if answer and len(answer) <= _LONGEST_ANSWER:
            return Extraction(answer, mark.rule)
    return _unmarked(text)


def without_ends(text: str) -> str:
    """The text, a new line in the place of each end of sequence or turn."""
    return _SPECIAL.sub("\n", text)


def _clean(answer: str) -> str:
    """Without space, markup and the stop around it."""
    answer = answer.strip()
    for _ in range(3):
        for markup in ("***", "**", "__", "~~", "`", "*", "_"):
            if len(answer) > 2 * len(markup) and answer.startswith(markup) and answer.endswith(markup):
                answer = answer[len(markup) : -len(markup)].strip()
        for markup in ("**", "__", "`"):
            if answer.count(markup) == 1:
                answer = answer.removeprefix(markup).removesuffix(markup).strip()
        if (
            answer.endswith((".", "。"))
            and not answer.endswith("..")
            and not re.search(r"\W[ap]\.m\.$", answer)
        ):
            answer = answer[:-1].rstrip()
    return "" if re.fullmatch(r"[*_`~$\s]*", answer) else answer


# Marks.


def _marks(text: str) -> list[_Mark]:
    """The marks in the order in which they end; one inside another is read with it."""
    boxes = _boxes(text)
    marks = [*_tags(text), *boxes, *_hashes(text), *_answer_lines(text, boxes), *_options(text)]
    marks.sort(key=lambda mark: (mark.end, -mark.begin))
    outer = [mark for mark in marks if mark.rule in ("tag", "answer-line", "hashes")]
    covered: list[_Mark] = []
    last_end, kept = -1, []
    for mark in sorted(outer, key=lambda mark: (mark.begin, -mark.end)):
        if mark.end > last_end and mark.begin >= last_end:
            kept.append(mark)
            last_end = mark.end
    covers = iter(kept)
    cover = next(covers, None)
    for mark in sorted(marks, key=lambda mark: (mark.begin, -mark.end)):
        while cover is not None and cover.end <= mark.begin:
            cover = next(covers, None)
        if cover is None or mark is cover or not (cover.begin <= mark.begin and mark.end <= cover.end):
            covered.append(mark)
    covered.sort(key=lambda mark: mark.end)
    return covered


def _inside(content: str) -> str:
    """What a tag or a line holds; a marked answer inside it is the answer."""
    boxes = _boxes(content)
    if boxes:
        return boxes[-1].content
    for found in (_hashes(content), _answer_lines(content, [])):
        if found and _clean(found[-1].content):
            return found[-1].content
    return content


def _tags(text: str) -> list[_Mark]:
    marks: list[_Mark] = []
    opened: re.Match[str] | None = None
    for tag in _TAG.finditer(text):
        if not tag[1]:
            opened = tag
        elif opened is not None:
            marks.append(_Mark(opened.start(), tag.end(), _inside(text[opened.end() : tag.start()]), "tag"))
            opened = None
    return marks


def _boxes(text: str) -> list[_Mark]:
    """The closed boxes; those that only a comma or `and` parts are one answer."""
    if "\\boxed" not in text and "\\fbox" not in text:
        return []
    open_braces: list[tuple[int, int] | None] = []
    found: list[tuple[int, int, int]] = []
    for brace in _BRACE.finditer(text):
        if brace[1]:
            open_braces.append((brace.start(), brace.end()))
        elif brace[0] == "{":
            open_braces.append(None)
        elif brace[2] and open_braces:
            begin = open_braces.pop()
            if begin is not None:
                found.append((begin[0], begin[1], brace.start()))
    found = [box for box in found if text[box[1] : box[2]].strip()]
    found.sort()
    outermost: list[tuple[int, int, int]] = []
    for box in found:
        if not outermost or box[0] > outermost[-1][2]:
            outermost.append(box)
    marks: list[_Mark] = []
    for begin, inner, end in outermost:
        content = text[inner:end]
        nested = [box for box in found if begin < box[0] and box[2] < end] if "\\boxed" in content else []
        if nested and content.strip().startswith("\\boxed"):
            content = text[nested[-1][1] : nested[-1][2]]
        content = _sign_before(text, begin) + content
        last = marks[-1] if marks else None
        if last is not None and _are_joined(text[last.end : begin]):
            joined = "and" if re.search(r"\b(?:and|or)\b", text[last.end : begin]) else ","
            space = "" if joined == "," else " "
            marks[-1] = _Mark(last.begin, end + 1, f"{last.content}{space}{joined} {content}", "boxed")
        else:
            marks.append(_Mark(begin, end + 1, content, "boxed"))
    return marks


def _are_joined(between: str) -> bool:
    return len(between) <= 60 and bool(_JOINED.fullmatch(between) or _NOUN_JOINED.fullmatch(between))


def _sign_before(text: str, begin: int) -> str:
    """The minus that stands before a box and belongs to nothing else."""
    before = text[max(0, begin - 12) : begin].rstrip()
    if not before.endswith(("-", "−")):
        return ""
    operand = before[:-1].rstrip()
    return "-" if not operand or operand[-1] in "=([{,:$&" or operand.endswith(("\\(", "\\[")) else ""


def _hashes(text: str) -> list[_Mark]:
    """Lines `#### …`; a heading (`#### Step 3: …`, `#### 3. Result`, words with text under them) is none."""
    marks: list[_Mark] = []
    for line in _HASHES.finditer(text):
        content = line[1].strip().strip("*_` ")
        rest = text[line.end() : line.end() + 200].strip()
        followed = bool(rest) and not rest.startswith("#")
        if _HEADING.match(content) and not re.match(r"(?i)(?:final )?answer", content):
            continue
        if re.match(r"(?i)(?:final )?answers?\W*$", content) or content.endswith(":"):
            continue
        if followed and not _is_answer_like(content):
            continue
        marks.append(_Mark(line.start(), line.end(), _inside(line[1]), "hashes"))
    return marks


def _is_answer_like(content: str) -> bool:
    """A value, a choice, yes or no, which a heading is not."""
    text = layout(content)
    if is_formal(value_of(text)):
        return True
    return re.fullmatch(r"(?i)yes|no|true|false|\(?[A-J]\)?", text) is not None


def _answer_lines(text: str, boxes: list[_Mark]) -> list[_Mark]:
    """What follows each marker, up to the end of the sentence or the line; display math is one line."""
    marks: list[_Mark] = []
    markers = list(_MARKER.finditer(text))
    for index, marker in enumerate(markers):
        limit = markers[index + 1].start() if index + 1 < len(markers) else len(text)
        rest = text[marker.end() : min(limit, marker.end() + 2 * _LONGEST_ANSWER)]
        if marker["verb"] is not None and _VERDICT.match(rest):
            continue
        lead = len(rest) - len(rest.lstrip("\n\r\t *_`:"))
        content = _sentence(rest[lead:])
        if not content.strip():
            continue
        begin = marker.end() + lead
        content, end = _with_box(text, begin, begin + len(content), content, boxes)
        marks.append(_Mark(marker.start(), end, _inside(content), "answer-line"))
    return marks


def _with_box(text: str, begin: int, end: int, content: str, boxes: list[_Mark]) -> tuple[str, int]:
    """The content up to the end of a box that begins in it."""
    for box in boxes:
        if begin <= box.begin < end < box.end:
            return text[begin : box.end], box.end
    return content, end


def _sentence(text: str) -> str:
    """The first sentence of the first line; delimited math and brackets are not cut."""
    cuts = [(found.start(), found.end()) for found in _MATH.finditer(text[: 2 * _LONGEST_ANSWER])]
    newline = next((i for i in _positions(text, "\n") if not _within(i, cuts)), len(text))
    if (begin := re.match(r"\s*\\begin\{", text)) is not None:
        closing = text.find("\\end{", begin.end())
        newline = max(newline, text.find("}", closing) + 1) if closing >= 0 else newline
    line = text[:newline]
    for found in _SENTENCE_END.finditer(line):
        if not _within(found.start(), cuts):
            return line[: found.start()]
    return line


def _positions(text: str, char: str) -> Iterator[int]:
    at = text.find(char)
    while at >= 0:
        yield at
        at = text.find(char, at + 1)


def _within(place: int, cuts: list[tuple[int, int]]) -> bool:
    return any(begin <= place < end - 1 for begin, end in cuts)


def _options(text: str) -> list[_Mark]:
    return [
        _Mark(found.start(), found.end(), found["letter"], "choice")
        for found in _OPTION.finditer(text)
        if found["denied"] is None and found["letter"].isupper()
    ]


# Without a mark.


def _unmarked(text: str) -> Extraction:
    whole = _TAG.sub("\n", _OPEN_BOX.sub(" ", text)).strip()
    short = "\n" not in whole and len(whole.split()) <= _WHOLE_LINE_WORDS
    if _OPENING.match(whole):
        first = _sentence(whole) if not re.match(r"\W*[A-Ja-j]\W", whole) else whole.partition("\n")[0]
        if len(first) <= _LONGEST_ANSWER and _clean(first):
            return Extraction(_clean(first), "opening")
    value = value_of(layout(whole)) if len(whole) <= _READ_BACK and "\n\n" not in whole else None
    if value is not None and is_formal(value):
        return Extraction(_result(_clean(whole), value), "last-number")
    concluded = _conclusion(whole)
    if concluded is not None:
        return Extraction(concluded, "conclusion")
    tail = whole[-4_000:] if len(whole) > 4_000 else whole
    found = [span for span in spans(tail) if span.is_value]
    found = [span for span in found if not _DENIAL.search(tail[max(0, span.begin - 24) : span.begin])]
    if found:
        answer = _value_at(tail, found[-1])
        if answer is not None or not (short and whole.startswith("\\text")):
            return Extraction(answer, "last-number" if answer else "none")
    if short and _clean(whole) and not _MARKER.search(whole):
        return Extraction(_clean(whole), "whole-line")
    return Extraction(None, "none")


def _conclusion(text: str) -> str | None:
    """What a last sentence that begins with `so`, `thus` or `therefore` says something to be."""
    line = text.rpartition("\n")[2][-1_000:].strip()
    cuts = [(found.start(), found.end()) for found in _MATH.finditer(line)]
    ends = [found.end() for found in _SENTENCE_END.finditer(line) if not _within(found.start(), cuts)]
    ends = [end for end in ends if line[end:].strip(" *_`.")]
    sentence = line[ends[-1] :] if ends else line
    opening = _CONCLUSION.search(sentence)
    verbs = list(_IS.finditer(sentence, opening.end())) if opening is not None else []
    if not verbs:
        return None
    answer = _clean(sentence[verbs[-1].end() :])
    if not answer or len(answer.split()) > _WHOLE_LINE_WORDS:
        return None
    value = value_of(layout(answer))
    is_choice = re.fullmatch(r"\(?[A-J]\)?", answer) is not None
    if is_choice or (is_formal(value)):
        return answer
    return None if any(span.is_value for span in spans(text[-4_000:])) else answer


def _value_at(text: str, span: Span) -> str | None:
    """The whole value in the span; None where the span is no value, or words beside it change it."""
    source = text[span.begin : span.end]
    answer = _clean(source)
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
    delimited = re.fullmatch(_MATH, source.strip())
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
