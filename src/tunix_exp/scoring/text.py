"""Text with one spelling for what is only typography: Unicode variants, LaTeX's spacing and styling."""

import re
import unicodedata

_VULGAR = re.compile(r"(?<=[0-9])(?=[¼-¾⅐-⅞])")
_RAISED_UNIT = re.compile(r"(?<=[0-9])(?=[cdkm]?m[²³])")
_RAISED = re.compile(r"[⁰¹²³⁴-⁹⁺⁻ⁿ]+")
_LOWERED = re.compile(r"[₀-₉]+")
_PLAIN_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ₀₁₂₃₄₅₆₇₈₉", "0123456789+-n0123456789")
_SAME = str.maketrans(
    {
        **dict.fromkeys("−‐‑‒–—﹣－", "-"),
        **dict.fromkeys("“”„‟«»″", '"'),
        **dict.fromkeys("‘’‚‛′", "'"),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", ""),  # invisible: joiners, soft hyphen
        **dict.fromkeys("⁄∕÷", "/"),
        **dict.fromkeys("·⋅∙", "×"),
        "。": ".",
        "、": ",",
    }
)
_FOREIGN_DIGIT = re.compile(r"(?![0-9])\d")

_TIMES = re.compile(r"(?<=[0-9])x(?=[0-9])")
_DOUBLED = re.compile(r"\\\\(?=[a-zA-Z]{2}|[()\[\]{}])")
_MATH = re.compile(r"(?<!\\)(\$\$?)((?:[^$\\]|\\.)*)\1(?![0-9])", re.DOTALL)
_WORDS = r"text(?:bf|it|rm|normal)?|math(?:rm|bf|it|sf)|operatorname|mbox|hbox|boldsymbol"
_LATEX = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\!\s*", ""),
        (r"\s*\{\s*,\s*\}\s*", ","),
        (r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits)(?![a-zA-Z])", ""),
        (r"(?<!\\)\\\(((?:[^\\]|\\[^()])*+)\\\)", " \\1 "),
        (r"(?<!\\)\\\[((?:[^\\]|\\[^\[\]])*+)\\\]", " \\1 "),
        (r"(?<!\\)\\[,;: ]|(?<!\\)~|\\(?:thinspace|enspace)(?![a-zA-Z])|\\q?quad(?![a-zA-Z]{2})", " "),
        (r"\\(?=\")", ""),
        (rf"\\(?:{_WORDS})\s?\{{([^{{}}]*)\}}", " \\1 "),
        (r"\\(?:boxed|fbox)\s?(?=\{)", " "),
        (r"\^\s?(?:\{\s?\\circ\s?\}|\\circ(?![a-zA-Z]))|\\degree(?![a-zA-Z])", "°"),
        (r"\\([$%#&])", r"\1"),
    )
)


def plain(text: str) -> str:
    """The text in compatibility form (NFKC) with ASCII digits, one minus and one kind of quotes.

    Case, white space and LaTeX stay. Raised digits become `^2`, lowered ones `_2`, and `3½` becomes `3 1/2`
    before NFKC would glue them to `102` and `31/2`. Linear in the length of the text.
    """
    if not text.isascii():
        text = _RAISED_UNIT.sub(" ", _VULGAR.sub(" ", text).replace("º", "°"))
        text = _RAISED.sub(lambda found: "^{" + found[0].translate(_PLAIN_DIGITS) + "}", text)
        text = _LOWERED.sub(lambda found: "_{" + found[0].translate(_PLAIN_DIGITS) + "}", text)
        text = unicodedata.normalize("NFKC", text).translate(_SAME)
        text = _FOREIGN_DIGIT.sub(lambda found: str(unicodedata.decimal(found[0])), text)
    return text


def bare(text: str) -> str:
    r"""The plain text without what LaTeX adds only for the eye: delimiters, spacing, sizes, `\text{…}`.

    Braces, fractions, roots and every other command stay: they say what belongs together.
    """
    text = _TIMES.sub("×", plain(text))
    if "$" in text:
        text = _MATH.sub(r" \2 ", text)
    if "\\" in text or "{" in text or "~" in text:
        if "\\begin" not in text:
            text = _DOUBLED.sub(r"\\", text)
        for pattern, replacement in _LATEX:
            text = pattern.sub(replacement, text)
    return text
