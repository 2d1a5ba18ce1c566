"""What training rows share with held-out items: whole questions, and runs of words."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tunix_exp.data.example import Example, normalised, shortened
from tunix_exp.data.sources import ExampleSet
from tunix_exp.errors import UserError

RUN = 13
"""The words in a row by which a text counts as seen (Brown et al. 2020, appendix C)."""

_MOST_SHOWN = 10
_MOST_FOUND = 5
_WORDS_AT_A_TIME = 2**18
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
# Chinese and Japanese put no blanks between words: there each character is one.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


class Shared(NamedTuple):
    """A training row and a held-out item, by their numbers, and what both hold."""

    row: int
    item: int
    text: str


class SharedRuns(NamedTuple):
    """How many rows and items share a run of words, and the first of them."""

    rows: int
    items: int
    first: tuple[Shared, ...]


def shared_questions(train: ExampleSet | Sequence[Example], items: Sequence[Example]) -> list[Shared]:
    """The training rows whose question, but for case and spacing, is held out."""
    held_out = {normalised(item.question): number for number, item in enumerate(items)}
    questions = (
        train.examples.column("question")
        if isinstance(train, ExampleSet)
        else (one.question for one in train)
    )
    return [
        Shared(row, item, question)
        for row, question in enumerate(questions)
        if (item := held_out.get(normalised(question))) is not None
    ]


def refuse_shared(shared: Sequence[Shared], train: Sequence[Example], items: Sequence[Example]) -> None:
    """Raise UserError where training rows ask what is held out."""
    if not shared:
        return
    shown = "\n".join(
        f"  {train[row].place} asks what {items[item].place} asks: {shortened(question)}"
        for row, item, question in shared[:_MOST_SHOWN]
    )
    more = f"\n  … and {len(shared) - _MOST_SHOWN} more" if len(shared) > _MOST_SHOWN else ""
    raise UserError(
        f"{len(shared)} of {len(train)} training questions are held out\n{shown}{more}",
        where="data.source and eval.source",
        remedy="take those rows out of the training set, or accept it and have it recorded: "
        "data.allow_eval_overlap=true",
    )


def shared_runs(train: Iterable[Example], items: Sequence[Example]) -> SharedRuns:
    """The rows that have 13 words in a row of an item's question, wherever in the row they stand.

    Case and punctuation make no difference. An item of fewer words is found where a row's question is the
    same words. Of the items 64 bits a run are kept; the rows are gone through once.
    """
    held_out = _Runs(items)
    rows, first = 0, []
    for found in map(held_out.found, _chunks(train)):
        rows += len(found)
        first += found[: _MOST_FOUND - len(first)]
    return SharedRuns(rows, held_out.count_found(), tuple(first))


class _Chunk(NamedTuple):
    """Some rows: the words of all in order, where each row's end, and what each asks where that is short."""

    start: int
    words: list[str]
    ends: list[int]
    short: list[str]


def _chunks(train: Iterable[Example]) -> Iterator[_Chunk]:
    chunk = _Chunk(0, [], [], [])
    for row, example in enumerate(train):
        if len(chunk.words) >= _WORDS_AT_A_TIME:
            yield chunk
            chunk = _Chunk(row, [], [], [])
        asked = _words(example.question)
        if example.messages:
            told = _words("\n".join(text for _, text in example.messages))
        else:
            told = asked + _words("\n".join((*example.steps, example.answer)))
        chunk.words.extend(told)
        chunk.ends.append(len(chunk.words))
        chunk.short.append(" ".join(asked) if len(asked) < RUN else "")
    yield chunk


class _Runs:
    """The runs of the items' words as sorted hashes, and which of them were found."""

    def __init__(self, items: Sequence[Example]) -> None:
        self._short: dict[str, list[int]] = {}
        hashes, owners = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for number, item in enumerate(items):
            words = _words(item.question)
            if 0 < len(words) < RUN:
                self._short.setdefault(" ".join(words), []).append(number)
            hashes.append(_run_hashes(words))
            owners.append(np.full(len(hashes[-1]), number))
        self._owner_G = np.concatenate(owners)
        unique = np.unique(np.concatenate(hashes), return_index=True, return_inverse=True)
        self._hash_U, self._first_U, self._unique_G = unique
        self._is_found_U = np.zeros(len(self._hash_U), bool)
        self._found_short: set[str] = set()

    def found(self, chunk: _Chunk) -> list[Shared]:
        """Of each row of the chunk that shares something, the first of it."""
        pairs = {
            row: Shared(chunk.start + row, self._short[short][0], short)
            for row, short in enumerate(chunk.short)
            if short in self._short
        }
        self._found_short.update(shared.text for shared in pairs.values())
        hash_N = _run_hashes(chunk.words)
        if len(hash_N) and len(self._hash_U):
            row_N = np.repeat(np.arange(len(chunk.ends)), np.diff(chunk.ends, prepend=0))
            place_N = np.minimum(np.searchsorted(self._hash_U, hash_N), len(self._hash_U) - 1)
            is_shared_N = (self._hash_U[place_N] == hash_N) & (row_N[: len(hash_N)] == row_N[RUN - 1 :])
            self._is_found_U[place_N[is_shared_N]] = True
            starts_S = np.flatnonzero(is_shared_N)
            rows, first_R = np.unique(row_N[starts_S], return_index=True)
            for row, start in zip(rows.tolist(), starts_S[first_R].tolist(), strict=True):
                item = int(self._owner_G[self._first_U[place_N[start]]])
                words = " ".join(chunk.words[start : start + RUN])
                pairs.setdefault(row, Shared(chunk.start + row, item, words))
        return [pairs[row] for row in sorted(pairs)]

    def count_found(self) -> int:
        """How many items were found so far."""
        by_run = self._owner_G[self._is_found_U[self._unique_G]].tolist()
        return len({*by_run, *(item for short in self._found_short for item in self._short[short])})


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _run_hashes(words: Sequence[str]) -> np.ndarray:
    """64 bits of every 13 words in a row, of the words' own by a polynomial modulo 2⁶⁴."""
    count = len(words) - RUN + 1
    if count < 1:
        return np.zeros(0, np.uint64)
    word_N = np.fromiter(map(hash, words), np.int64, len(words)).view(np.uint64)
    hash_N = np.zeros(count, np.uint64)
    for place in range(RUN):
        hash_N = hash_N * _FACTOR + word_N[place : place + count]
    return hash_N
