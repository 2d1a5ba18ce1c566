"""An answer laid out for reading, and the value that it writes."""

import functools
import re

from tunix_exp.scoring.parse import parse
from tunix_exp.scoring.text import bare
from tunix_exp.scoring.values import Value

_PAIRS = (("**", "**"), ("__", "__"), ("*", "*"), ("_", "_"), ("`", "`"), ('"', '"'), ("'", "'"), ("<", ">"))
_THE = re.compile(r"(?:the )+", re.IGNORECASE)
_MINUS = re.compile(r"(?:minus|negative)\s+(?=[0-9$€£¥₹.\\])", re.IGNORECASE)
_BOUNDS = (
    (re.compile(r"(?:at least|no less than|not less than|no fewer than|not fewer than)\s+"), "≥"),
    (re.compile(r"(?:at most|no more than|not more than|up to)\s+"), "≤"),
    (re.compile(r"(?:more|greater|larger|higher|bigger) than\s+|(?:over|above)\s+(?=\d)"), ">"),
    (re.compile(r"(?:less|smaller|fewer|lower) than\s+|(?:under|below)\s+(?=\d)"), "<"),
)


def normalise(answer: str) -> str:
    """The answer without what is only typography; normalising again changes nothing.

    Case and a leading `the` go, brackets, signs and commas stay. An answer that is nothing but punctuation
    keeps it.
    """
    while (simpler := _simplified(answer.casefold())) != answer:
        answer = simpler
    return answer


def layout(answer: str) -> str:
    """The answer without delimiters, quotes, markup around it, and the punctuation that ends it."""
    text = " ".join(bare(answer).split())
    while (simpler := _peeled(text)) != text:
        text = simpler
    return text


def _simplified(answer: str) -> str:
    text = layout(answer)
    article = _THE.match(text)
    return (text[article.end() :] if article else text).strip() or text


def _peeled(text: str) -> str:
    stripped = text.strip(" ,;:").rstrip("?").strip()
    if (
        stripped.endswith(".")
        and not stripped.endswith("..")
        and not re.search(r"(?:^|\W)[ap]\.m\.$", stripped)
    ):
        stripped = stripped[:-1].rstrip()
    if stripped.endswith("!") and not re.search(r"[0-9a-z)}\]]!+$", stripped[-3:]):
        stripped = stripped[:-1].rstrip()
    elif re.search(r"[^\W\d_]{2,}!$", stripped):
        stripped = stripped[:-1]
    for opening, closing in _PAIRS:
        if len(stripped) > len(opening) + len(closing) and stripped.startswith(opening):
            inner = stripped[len(opening) : len(stripped) - len(closing)]
            if stripped.endswith(closing) and opening not in inner and closing not in inner:
                stripped = inner.strip()
    if stripped.startswith("{") and stripped.endswith("}") and not set("{},") & set(stripped[1:-1]):
        stripped = stripped[1:-1].strip()
    return stripped or text


@functools.lru_cache(maxsize=4_096)
def value_of(text: str) -> Value | None:
    """The value that the laid out `text` is, bounds in words among them; None for a text."""
    minus = _MINUS.match(text)
    text = f"-{text[minus.end() :]}" if minus is not None else text
    lower = text.casefold()
    for pattern, sign in _BOUNDS:
        found = pattern.match(lower)
        if found is not None:
            text = f"{sign} {text[found.end() :]}"
            break
    return parse(text)
