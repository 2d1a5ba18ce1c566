"""An example as the model sees it: its text in lines, and of each stretch whether it is learnt."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.cells import cell_len

from tunix_exp.data.tokenizer import Tokenizer

_WIDTH = 88
# From here on a line ends where a word does.
_NEARLY_FULL = 76
_SHOWN = {"\n": "⏎", "\t": "⇥", "\r": "␍"}
# What a terminal obeys, or reorders a line by.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class Stretch(NamedTuple):
    """Text on one line, all of it learnt or none, all of it of special tokens or none."""

    text: str
    is_learnt: bool
    is_special: bool


def pictured(ids: Sequence[int], learnt: Sequence[bool], tokenizer: Tokenizer) -> list[list[Stretch]]:
    """The lines of the text, which end where it has line ends, or are full.

    Line ends, tabs and control characters are visible; a special token is its name.
    """
    special = set(tokenizer.specials.ids.values())
    kinds = [(is_learnt, id_ in special) for id_, is_learnt in zip(ids, learnt, strict=True)]
    lines: list[list[Stretch]] = [[]]
    width = 0
    for text, kind in _characters(ids, kinds, tokenizer):
        shown = _CONTROL.sub(lambda found: _SHOWN.get(found[0]) or ascii(found[0])[1:-1], text)
        if width >= _NEARLY_FULL and text.startswith(" ") and text.strip():
            lines.append([])
            width = 0
        line = lines[-1]
        if line and line[-1][1:] == kind:
            line[-1] = line[-1]._replace(text=line[-1].text + shown)
        else:
            line.append(Stretch(shown, *kind))
        width += cell_len(shown)
        if text.endswith("\n") or width >= _WIDTH or (width >= _NEARLY_FULL and text.endswith(" ")):
            lines.append([])
            width = 0
    return lines if lines[-1] else lines[:-1]


def marked(lines: Sequence[Sequence[Stretch]]) -> Iterator[str]:
    """Each line over its marks, as wide as the text: `^` where it is learnt, `.` where it is read only."""
    for line in lines:
        yield "".join(stretch.text for stretch in line)
        yield "".join(".^"[stretch.is_learnt] * cell_len(stretch.text) for stretch in line)


def _characters(
    ids: Sequence[int], kinds: Sequence[tuple[bool, bool]], tokenizer: Tokenizer
) -> Iterator[tuple[str, tuple[bool, bool]]]:
    """The texts of the fewest tokens of one kind that together are whole characters.

    Each is decoded behind the one before: some decoders take the blank off the beginning of a text.
    """
    before: list[int] = []
    pending: list[int] = []
    for place, id_ in enumerate(ids):
        pending.append(id_)
        text = tokenizer.decode([*before, *pending])[len(tokenizer.decode(before)) :]
        is_last = place + 1 == len(ids) or kinds[place + 1] != kinds[place]
        if is_last or not text.endswith("\ufffd"):
            yield text, kinds[place]
            before, pending = pending, []
