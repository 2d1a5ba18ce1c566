"""Which special tokens a text may hold: those of a template are tokens, those in users' text are text."""

import functools
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import tokenizers

from tunix_exp.errors import UserError

# Noncharacters of Unicode, which interchanged text does not have; where it has them, they are kept.
_MARK = "\ufdd0"
_BREAK, _ITSELF = f"{_MARK}\ufdd1", f"{_MARK}\ufdd2"
# By whether a token takes the white space before it, and that after it.
_ANCHORS = {
    (left, right): f"\ufdd3{left:d}{right:d}\ufdd4" for left in (False, True) for right in (False, True)
}


@dataclass(frozen=True)
class SpecialTokens:
    """The special tokens of one tokenizer, and how text is read that contains their names.

    `as_text` breaks such a name, so that the text can go through templates, which write tokens of their own,
    and `encode` reads what was broken as text and what was not as tokens.
    """

    backend: tokenizers.Tokenizer

    @functools.cached_property
    def tokens(self) -> dict[str, tokenizers.AddedToken]:
        """The special tokens by their texts, the longest first."""
        added = self.backend.get_added_tokens_decoder().values()
        special = {token.content: token for token in added if token.special and token.content}
        return {text: special[text] for text in sorted(special, key=len, reverse=True)}

    @functools.cached_property
    def ids(self) -> dict[str, int]:
        """The id of each special token, by its text."""
        added = self.backend.get_added_tokens_decoder()
        return {token.content: id_ for id_, token in added.items() if token.content in self.tokens}

    @functools.cached_property
    def _pattern(self) -> re.Pattern[str]:
        """Of a special token's text, in whatever case where the tokenizer may change the case first."""
        is_changed = self.backend.normalizer is not None
        parts = [
            f"(?i:{re.escape(text)})" if token.normalized and is_changed else re.escape(text)
            for text, token in self.tokens.items()
        ]
        return re.compile("|".join(parts) or "(?!)")

    @staticmethod
    def has_breaks(text: str) -> bool:
        """Whether the text must be read by `encode`: `as_text` changed a part of it."""
        return _MARK in text

    def is_in(self, texts: Iterable[str]) -> bool:
        """Whether one of the texts contains the name of a special token."""
        return any(self._pattern.search(text) for text in texts)

    def count(self, texts: Iterable[str]) -> Counter[str]:
        """How often each special token's name is in the texts."""
        return Counter(name for text in texts for name in self._pattern.findall(text))

    def as_text(self, text: str) -> str:
        """The text with every special token's name broken, for `encode` to read as text."""
        kept = text.replace(_MARK, _ITSELF)
        return self._pattern.sub(lambda found: _BREAK + _BREAK.join(found[0]) + _BREAK, kept)

    def fenced(self, text: str) -> str:
        """`as_text`, with a break at either end: with what stands beside it the text makes no name either."""
        return _BREAK + self.as_text(text) + _BREAK

    def encode(self, text: str) -> list[int]:
        """The ids of a text with breaks: names of special tokens are tokens where they are unbroken.

        The ids are those of the same text in which the broken names belong to no token. Raises UserError for
        a tokenizer that makes the token out of plain text as well.
        """
        stretches: list[str] = []
        controls: list[int] = []
        start = 0
        for found in self._pattern.finditer(text):
            token = self.tokens[found[0]] if found[0] in self.tokens else self._in_other_case(found[0])
            stretches += [_unbroken(text[start : found.start()]), _ANCHORS[token.lstrip, token.rstrip]]
            controls.append(self.ids[token.content])
            start = found.end()
        stretches.append(_unbroken(text[start:]))
        reader, anchor_ids = self._reader
        ids = reader.encode("".join(stretches), add_special_tokens=False).ids
        places = [place for place, id_ in enumerate(ids) if id_ in anchor_ids]
        if len(places) != len(controls):
            raise UserError(
                "a text contains code points that stand for special tokens while it is encoded",
                where="U+FDD3, U+FDD4",
                remedy="take these noncharacters of Unicode out of the text",
            )
        self._refuse_made_of_text(set(ids), self.count(map(_unbroken, stretches[::2])))
        for place, control in zip(places, controls, strict=True):
            ids[place] = control
        return ids

    def _in_other_case(self, name: str) -> tokenizers.AddedToken:
        return next(token for text, token in self.tokens.items() if text.lower() == name.lower())

    def _refuse_made_of_text(self, ids: set[int], names: Iterable[str]) -> None:
        unknown = getattr(self.backend.model, "unk_token", None)
        for name in names:
            if name in self.ids and name != unknown and self.ids[name] in ids:
                raise UserError(
                    f"the text {name} is the special token {name} to this tokenizer, however it is read",
                    where="model.tokenizer",
                    remedy=f"take {name} out of the data's text",
                )

    @functools.cached_property
    def _reader(self) -> tuple[tokenizers.Tokenizer, frozenset[int]]:
        """A copy that knows the anchors and takes the names of special tokens for text."""
        reader = tokenizers.Tokenizer.from_str(self.backend.to_str())
        reader.no_padding()
        reader.no_truncation()
        reader.add_tokens(
            [
                tokenizers.AddedToken(text, normalized=False, lstrip=left, rstrip=right)
                for (left, right), text in _ANCHORS.items()
            ]
        )
        reader.encode_special_tokens = True
        ids = (reader.token_to_id(text) for text in _ANCHORS.values())
        return reader, frozenset(id_ for id_ in ids if id_ is not None)


def _unbroken(text: str) -> str:
    return text.replace(_BREAK, "").replace(_ITSELF, _MARK)
