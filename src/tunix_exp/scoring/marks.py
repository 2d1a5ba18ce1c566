r"""Where a text marks its answer: tags, boxes, `####` lines, answer lines, options."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tunix_exp.scoring.parse import is_formal
from tunix_exp.scoring.reading import layout, value_of

LONGEST_ANSWER = 2_000
"""Characters. What is longer is a text, not an answer."""

Rule = Literal[
    "tag", "boxed", "hashes", "answer-line", "choice", "opening", "conclusion", "last-number", "whole-line",
    "none",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark from `begin` to `end`, what it holds, and its kind."""

    begin: int
    end: int
    content: str
    rule: Rule


TAG = re.compile(r"<(/?)answer>", re.IGNORECASE | re.ASCII)
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
MARKER = re.compile(
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
SENTENCE_END = re.compile(
    r"(?<!\b[A-Z])(?<!\bSt)(?<!\bDr)(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bMt)(?<!\bJr)(?<!\bSr)(?<!\bvs)(?<!\bNo)(?:[.?]|(?<=[^\W\d_]{2})!)[*_`]{0,4}(?=\s+[A-Z*(\[<\\\"$#]|[\s*_`]*$)|。|(?<=[^\W\da-zA-Z_])[.](?=\s)"
)
MATH = re.compile(
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


def clean(answer: str) -> str:
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


def marks(text: str) -> list[Mark]:
    """The marks in the order in which they end; one inside another is read with it."""
    boxes = _boxes(text)
    found = [*_tags(text), *boxes, *_hashes(text), *_answer_lines(text, boxes), *_options(text)]
    found.sort(key=lambda mark: (mark.end, -mark.begin))
    outer = [mark for mark in found if mark.rule in ("tag", "answer-line", "hashes")]
    covered: list[Mark] = []
    last_end, kept = -1, []
    for mark in sorted(outer, key=lambda mark: (mark.begin, -mark.end)):
        if mark.end > last_end and mark.begin >= last_end:
            kept.append(mark)
            last_end = mark.end
    covers = iter(kept)
    cover = next(covers, None)
    for mark in sorted(found, key=lambda mark: (mark.begin, -mark.end)):
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
        if found and clean(found[-1].content):
            return found[-1].content
    return content


def _tags(text: str) -> list[Mark]:
    marks: list[Mark] = []
    opened: re.Match[str] | None = None
    for tag in TAG.finditer(text):
        if not tag[1]:
            opened = tag
        elif opened is not None:
            marks.append(Mark(opened.start(), tag.end(), _inside(text[opened.end() : tag.start()]), "tag"))
            opened = None
    return marks


def _boxes(text: str) -> list[Mark]:
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
    marks: list[Mark] = []
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
            marks[-1] = Mark(last.begin, end + 1, f"{last.content}{space}{joined} {content}", "boxed")
        else:
            marks.append(Mark(begin, end + 1, content, "boxed"))
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


def _hashes(text: str) -> list[Mark]:
    """Lines `#### …`; a heading (`#### Step 3: …`, `#### 3. Result`, words with text under them) is none."""
    marks: list[Mark] = []
    for line in _HASHES.finditer(text):
        content = line[1].strip().strip("*_` ")
        rest = text[line.end() : line.end() + 200].strip()
        followed = bool(rest) and not rest.startswith("#")
        if _is_heading(content, followed=followed):
            continue
        if re.match(r"(?i)(?:final )?answers?\W*$", content) or content.endswith(":"):
            continue
        if followed and not is_answer_like(content):
            continue
        marks.append(Mark(line.start(), line.end(), _inside(line[1]), "hashes"))
    return marks


def _is_heading(content: str, *, followed: bool) -> bool:
    """A word such as `Step` or `Conclusion` alone, before a number or colon, or with text under it."""
    if not _HEADING.match(content) or re.match(r"(?i)(?:final )?answer", content):
        return False
    return followed or len(content.split()) == 1 or bool(re.match(r"\w+[ \t]*(?:[0-9]|:)|\(?[0-9]", content))


def is_answer_like(content: str) -> bool:
    """A value, a choice, yes or no, which a heading is not."""
    text = layout(content)
    if is_formal(value_of(text)):
        return True
    return re.fullmatch(r"(?i)yes|no|true|false|\(?[A-J]\)?", text) is not None


def _answer_lines(text: str, boxes: list[Mark]) -> list[Mark]:
    """What follows each marker, up to the end of the sentence or the line; display math is one line."""
    marks: list[Mark] = []
    markers = list(MARKER.finditer(text))
    for index, marker in enumerate(markers):
        limit = markers[index + 1].start() if index + 1 < len(markers) else len(text)
        rest = text[marker.end() : min(limit, marker.end() + 2 * LONGEST_ANSWER)]
        if marker["verb"] is not None and _VERDICT.match(rest):
            continue
        lead = len(rest) - len(rest.lstrip("\n\r\t *_`:"))
        content = first_sentence(rest[lead:])
        if not content.strip():
            continue
        begin = marker.end() + lead
        content, end = _with_box(text, begin, begin + len(content), content, boxes)
        marks.append(Mark(marker.start(), end, _inside(content), "answer-line"))
    return marks


def _with_box(text: str, begin: int, end: int, content: str, boxes: list[Mark]) -> tuple[str, int]:
    """The content up to the end of a box that begins in it."""
    for box in boxes:
        if begin <= box.begin < end < box.end:
            return text[begin : box.end], box.end
    return content, end


def first_sentence(text: str) -> str:
    """The first sentence of the first line; delimited math and brackets are not cut."""
    cuts = [(found.start(), found.end()) for found in MATH.finditer(text[: 2 * LONGEST_ANSWER])]
    newline = next((i for i in _positions(text, "\n") if not within(i, cuts)), len(text))
    if (begin := re.match(r"\s*\\begin\{", text)) is not None:
        closing = text.find("\\end{", begin.end())
        newline = max(newline, text.find("}", closing) + 1) if closing >= 0 else newline
    line = text[:newline]
    for found in SENTENCE_END.finditer(line):
        if not within(found.start(), cuts) and line[: found.start()].strip():
            return line[: found.start()]
    return line


def _positions(text: str, char: str) -> Iterator[int]:
    at = text.find(char)
    while at >= 0:
        yield at
        at = text.find(char, at + 1)


def within(place: int, cuts: list[tuple[int, int]]) -> bool:
    """The place lies in one of the cuts, and not at its end."""
    return any(begin <= place < end - 1 for begin, end in cuts)


def _options(text: str) -> list[Mark]:
    return [
        Mark(found.start(), found.end(), found["letter"], "choice")
        for found in _OPTION.finditer(text)
        if found["denied"] is None and found["letter"].isupper()
    ]
