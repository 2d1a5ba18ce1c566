"""Where prose states a value: runs of numbers, formulas and what belongs to them, each as a whole."""

import re
from dataclasses import dataclass

from tunix_exp.scoring.numerals import MULTIPLES
from tunix_exp.scoring.tokens import FUNCTIONS
from tunix_exp.scoring.units import UNIT_OF

_DELIMITED = (
    r"\$\$(?:[^$\\]|\\.){1,4000}?\$\$(?!\d)"
    r"|(?<!\\)\$(?!\d[^$\n]{0,200}?[A-Za-z]{2})(?:[^$\\\n]|\\[^\n]){1,2000}?\$(?!\d)"
    r"|\\\((?:[^\\\n]|\\[^()\n]){1,2000}\\\)|\\\[(?:[^\\]|\\[^\[\]]){1,4000}\\\]"
)
_NUMBER = (
    r"\d{1,3}(?:,\d{3})+(?!\d|,\d)(?:\.\d++)?|\d{1,3}(?:[ ]\d{3})+(?![\d/]|[ ]\d)(?:\.\d++)?"
    r"|\d*+\.\d*+\\overline\{?\d{1,20}\}?|(?:\d++(?:[.,]\d++)*|\.\d++)"
)
_HALF = r"(?:[apAP]\.[mM]\.?|[apAP][mM])(?!\w)"
_TOKEN = re.compile(
    rf"""
    (?P<break>[^\S\n]*\n\s*)
  | (?P<space>[^\S\n]+)
  | (?P<math>{_DELIMITED})
  | (?P<clock>\d{{1,3}}(?::\d{{1,3}}){{1,3}}(?:[ ]?{_HALF})?(?![\w:])|\d{{1,2}}[ ]?{_HALF})
  | (?P<coded>[A-Za-z]+\d\w*)
  | (?P<number>(?:{_NUMBER})(?:[eE][-+]?\d{{1,2}}(?![\w.]))?(?:st|nd|rd|th)?)
  | (?P<command>\\[a-zA-Z]+|\\[,;:!%{{}}$\\ ])
  | (?P<money>US\$|[$€£¥₹]|(?:USD|EUR|GBP|JPY|INR|CHF)(?=[ ]?[-−\d.]))
  | (?P<word>[A-Za-zÀ-ÖØ-öø-ʯ]{{2,}}(?:['’][A-Za-zÀ-ÖØ-öø-ʯ]+)?)
  | (?P<letter>[A-Za-zα-ωΑ-Ω](?![^\W\d_]*['’]))
  | (?P<part>[¼-¾⅐-⅞⁰¹²³⁴-⁹⁻₀-₉]+)
  | (?P<comma>[,;])
  | (?P<open>[(\[{{])
  | (?P<close>[)\]}}])
  | (?P<operator><=|>=|!=|[-+−–*/^_=<>≤≥≠≈×·÷±√%°!|∪∈∞∅π⁄])
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_MARKUP = re.compile(r"\*\*+|__+|~~|`+|(?<!\S)[*_](?=\S)|(?<=\S)[*_](?!\S)|(?<=\w)\*(?=[.,;:!?](?!\S))")
_CLOSED = frozenset(("number", "clock", "close", "math", "part", "unit"))
_OPENING = frozenset(("number", "clock", "open", "math", "command", "money", "part"))
_SENTENCE_SIGNS = "-−–+"
_COMPARISON = re.compile(
    r"(?:minus|negative|at (?:least|most)|up to|over|under|above|below"
    r"|(?:no |not )?(?:more|less|fewer|greater|larger|smaller|higher|lower) than)\s*$",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Span:
    """A run of the text from `begin` to `end`; `is_value` says that a number or a relation is in it."""

    begin: int
    end: int
    is_value: bool


@dataclass(slots=True)
class _Piece:
    kind: str
    text: str
    begin: int
    end: int
    spaced: bool


def spans(text: str) -> list[Span]:
    """The runs in which something is stated, from first to last."""
    pieces = _pieces(_MARKUP.sub(lambda found: " " * len(found[0]), text))
    found: list[Span] = []
    run: list[_Piece] = []
    for index, piece in enumerate(pieces):
        following = pieces[index + 1] if index + 1 < len(pieces) else None
        if run and not _continues(run, piece, following):
            _close(run, found, text)
            run = []
        if run or _begins(piece, following, pieces[index - 1] if index else None):
            run.append(piece)
    _close(run, found, text)
    return found


def _pieces(text: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    spaced = True
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup or "other"
        if kind == "space":
            spaced = True
            continue
        piece = _Piece(kind, found[0], found.start(), found.end(), spaced)
        spaced = kind == "break"
        if kind == "word":
            lower = piece.text.lower()
            before = pieces[-1] if pieces else None
            after_number = before is not None and before.kind in (
                "number",
                "unit",
                "operator",
                "part",
                "math",
            )
            after_number = after_number and before.text not in "=<>+-"  # pyright: ignore[reportOptionalMemberAccess]
            if lower in FUNCTIONS or lower in ("sqrt", "pi"):
                piece.kind = "command"
            elif lower in ("and", "or"):
                piece.kind = "joint"
            elif after_number and (
                lower in UNIT_OF or lower in MULTIPLES or lower in ("per", "square", "cubic")
            ):
                piece.kind = "unit"
        elif (
            kind == "letter"
            and piece.text in "mgshlL"
            and piece.spaced
            and pieces
            and pieces[-1].kind == "number"
        ):
            piece.kind = "unit"
        pieces.append(piece)
    return pieces


def _begins(piece: _Piece, following: _Piece | None, before: _Piece | None) -> bool:
    if piece.kind == "operator":
        if piece.text == "|" and following is not None and not following.spaced and piece.spaced:
            return following.kind in ("letter", "number", "command")
        if piece.text in "*/^_%°!|=" or following is None or following.kind in ("word", "other", "break"):
            return False
        if piece.text in _SENTENCE_SIGNS:  # a dash or a bullet is no sign
            return not following.spaced and (
                before is None or piece.spaced or before.kind in ("other", "open")
            )
        return True
    if piece.kind == "command":
        return piece.text not in ("\\,", "\\;", "\\!", "\\ ", "\\\\")
    if piece.kind == "letter":
        return following is not None and (
            following.kind in ("operator", "command")
            or (following.kind in ("comma", "joint") and piece.text.islower())
            or (following.kind == "open" and not following.spaced)
            or (following.kind == "part")
        )
    return piece.kind in ("number", "clock", "math", "open", "money", "part", "coded")


def _continues(run: list[_Piece], piece: _Piece, following: _Piece | None) -> bool:
    last = run[-1]
    depth = sum(one.kind == "open" for one in run[-60:]) - sum(one.kind == "close" for one in run[-60:])
    match piece.kind:
        case "break" | "other" | "word":
            return False
        case "comma":
            if following is None or last.kind not in _CLOSED | {"letter", "command", "operator"}:
                return False
            if depth > 0:
                return following.kind not in ("word", "other", "break")
            signed = following.kind == "operator" and following.text in _SENTENCE_SIGNS + "≤≥<>"
            joint = following.kind == "joint"
            letters = last.kind in ("letter", "command") or following.kind == "letter"
            return (last.kind in _CLOSED or letters) and (
                following.kind in _OPENING | {"letter"} or signed or joint
            )
        case "joint":
            signed = (
                following is not None and following.kind == "operator" and following.text in _SENTENCE_SIGNS
            )
            return (
                following is not None
                and (following.kind in _OPENING | {"letter"} or signed)
                and last.kind in _CLOSED | {"comma", "letter", "command"}
            )
        case "close":
            return depth > 0
        case "operator":
            if piece.text in _SENTENCE_SIGNS and piece.spaced and following is not None:
                return following.kind not in ("word", "other", "break")
            return True
        case "open":
            return not piece.spaced or last.kind in ("operator", "comma", "joint", "command", "open")
        case "number" | "clock" | "coded" | "part":
            loose = last.kind in ("number", "clock", "close", "math", "letter", "coded")
            return (
                not piece.spaced or not loose or (last.kind == "number" and "/" in (following or piece).text)
            )
        case "letter":
            if last.kind not in ("operator", "comma", "open", "command", "joint") and piece.spaced:
                return piece.text == "x" and following is not None and following.kind == "number"
            return True
        case "money":
            return last.kind not in ("number", "math") or following is None or following.kind != "number"
        case "math":
            return last.kind in ("operator", "comma", "joint", "command", "open", "money")
        case _:
            return True


def _close(run: list[_Piece], found: list[Span], text: str) -> None:
    while run and (run[-1].kind in ("comma", "joint", "open", "break") or _dangles(run[-1])):
        run = run[:-1]
    if not run:
        return
    begin, end = run[0].begin, run[-1].end
    is_value = any(
        piece.kind in ("number", "clock", "part", "coded")
        or (piece.kind == "operator" and piece.text not in _SENTENCE_SIGNS and len(run) > 1)
        or (piece.kind == "math" and re.search(r"[\d=<>+^\\,(\[]", _undelimited(piece.text)))
        or (piece.kind == "comma" and run[0].kind == "open")
        or (piece.kind == "command" and piece.text.startswith("\\") and len(run) > 1)
        for piece in run
    )
    before = text[max(0, begin - 24) : begin]
    comparison = _COMPARISON.search(before)
    if comparison is not None:
        begin -= len(comparison[0])
    found.append(Span(begin, end, is_value))


def _undelimited(text: str) -> str:
    return text[2:-2] if text.startswith(("$$", "\\")) else text[1:-1]


def _dangles(piece: _Piece) -> bool:
    return (piece.kind == "operator" and piece.text not in "%°!|∞∅π*_") or (
        piece.kind == "operator" and piece.text in "*_|"
    )
