"""What became of the rows of a set, and how long they are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunix_exp.data.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Lengths:
    """Token counts over the kept examples."""

    min: int
    mean: float
    p50: float
    p95: float
    max: int


@dataclass(frozen=True, slots=True)
class NamesInText:
    """How many rows' texts contain names of special tokens, which are read as text, and how often each."""

    rows: int
    names: dict[str, int]

    def describe(self) -> str:
        """The same in a line; empty where there are none."""
        if not self.rows:
            return ""
        counted = ", ".join(f"{name} {count}" for name, count in self.names.items())
        rows = f"{self.rows} row{'s hold' if self.rows > 1 else ' holds'}"
        return f"{rows} the text of special tokens, read as text: {counted}"


@dataclass(frozen=True, slots=True)
class TokenStatistics:
    """What became of the rows, and how long the kept ones are; the `_ids` name the others.

    Of documents, lengths are those of their `pieces`; of other rows each is one.
    """

    rows_read: int
    rows_kept: int
    pieces: int
    rows_shortened: int
    rows_dropped: int
    prompt_tokens: Lengths
    response_tokens: Lengths
    total_tokens: Lengths
    supervised_share: float
    shortened_ids: tuple[str, ...]
    dropped_ids: tuple[str, ...]
    special_names: NamesInText


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of the rows that were not kept as they are."""

    shortened_ids: tuple[str, ...]
    dropped_ids: tuple[str, ...]
    special_names: NamesInText


def token_statistics(kept: Tokens, rows_read: int, fate: Fate) -> TokenStatistics:
    """Of the tokens that were kept, and what became of the other rows."""
    return _statistics([kept], rows_read, fate)


def statistics_of_all(sets: Sequence[tuple[Tokens, TokenStatistics]]) -> TokenStatistics:
    """The same of several sets together."""
    if len(sets) == 1:
        return sets[0][1]
    each = [statistics for _, statistics in sets]
    names = sum((Counter(one.special_names.names) for one in each), Counter[str]())
    fate = Fate(
        tuple(id_ for one in each for id_ in one.shortened_ids),
        tuple(id_ for one in each for id_ in one.dropped_ids),
        NamesInText(sum(one.special_names.rows for one in each), dict(sorted(names.items()))),
    )
    return _statistics([kept for kept, _ in sets], sum(one.rows_read for one in each), fate)


def _statistics(sets: Sequence[Tokens], rows_read: int, fate: Fate) -> TokenStatistics:
    prompt_K = np.concatenate([kept.flat.prompt_K for kept in sets])
    total_K = np.concatenate([kept.lengths_K for kept in sets])
    learnt = sum(int(kept.flat.learnt_N.sum()) for kept in sets)
    return TokenStatistics(
        rows_read=rows_read,
        rows_kept=rows_read - len(fate.dropped_ids),
        pieces=len(total_K),
        rows_shortened=len(fate.shortened_ids),
        rows_dropped=len(fate.dropped_ids),
        prompt_tokens=_lengths(prompt_K),
        response_tokens=_lengths(total_K - prompt_K),
        total_tokens=_lengths(total_K),
        supervised_share=float(learnt / total_K.sum()),
        shortened_ids=fate.shortened_ids,
        dropped_ids=fate.dropped_ids,
        special_names=fate.special_names,
    )


def _lengths(tokens_N: Any) -> Lengths:
    p50, p95 = np.percentile(tokens_N, [50, 95])
    return Lengths(int(tokens_N.min()), float(tokens_N.mean()), float(p50), float(p95), int(tokens_N.max()))
