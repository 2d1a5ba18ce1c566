"""Text with one spelling for what is only typography: Unicode variants and LaTeX."""

import re
import unicodedata

_VULGAR = re.compile(r"(?<=[0-9])(?=[¼-¾⅐-⅞])")
_SUPERSCRIPT = re.compile(r"[⁰¹²³⁴-⁹⁻]+")
_PLAIN_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_SAME = str.maketrans(
    {
        **dict.fromkeys("−‐‑‒–—﹣－", "-"),
        **dict.fromkeys("“”„‟«»″", '"'),
        **dict.fromkeys("‘’‚‛′", "'"),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", ""),  # invisible: joiners, soft hyphen
        "⁄": "/",
        "∕": "/",
        "π": "pi",
    }
)
_FOREIGN_DIGIT = re.compile(r"(?![0-9])\d")

_MATH = re.compile(r"(?<!\\)\$([^$\n]*)(?<!\\)\$(?![0-9])")
_LATEX = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\[dtc]?frac\s?\{\s?([^{}]*)\}\s?\{\s?([^{}]*)\}", r" \1/\2 "),
        (r"\\[dtc]?frac\s?([0-9])\s?([0-9])", r" \1/\2 "),
        (r"\\(?:text(?:bf|it|rm)?|math(?:rm|bf|it)|operatorname|mbox|left|right)(?![a-zA-Z])", ""),
        (r"\\(?:displaystyle|boxed|fbox|quad|qquad)(?![a-zA-Z])", " "),
        (r"\\(?:times|cdot)(?![a-zA-Z])", "×"),
        (r"\^\s?\{?\s?\\circ(?![a-zA-Z])\s?\}?|\\degree(?![a-zA-Z])", "°"),
        (r"\\pi(?![a-zA-Z])", "pi"),
        (r"\\(?:approx|simeq)(?![a-zA-Z])", "≈"),
        (r"\\[()\[\]!]", ""),
        (r"\\[,;: ]", " "),
        (r"\\([$%#&_])", r"\1"),
        (r"\\?[{}]", ""),
    )
)


def plain(text: str) -> str:
    """The text in compatibility form (NFKC) with ASCII digits, one minus, one kind of quotes and no LaTeX.

    Case and white space stay. Raised digits become `^2` and `3½` becomes `3 1/2` before NFKC would glue
    them to `102` and `31/2`. Linear in the length of the text.
    """
    if not text.isascii():
        text = _VULGAR.sub(" ", text)
        text = _SUPERSCRIPT.sub(lambda found: "^" + found[0].translate(_PLAIN_DIGITS), text)
        text = unicodedata.normalize("NFKC", text).translate(_SAME)
        text = _FOREIGN_DIGIT.sub(lambda found: str(unicodedata.decimal(found[0])), text)
    if "\\" in text or "$" in text or "{" in text or "}" in text:
        text = _MATH.sub(r"\1", text)
        for pattern, replacement in _LATEX:
            text = pattern.sub(replacement, text)
    return text
