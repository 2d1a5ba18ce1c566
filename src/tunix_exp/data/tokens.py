"""Tokenised examples as flat arrays: a row takes its tokens, and no object of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np

from tunix_exp.data.example import Example
from tunix_exp.data.table import ExampleTable, table_of


@dataclass(frozen=True, slots=True, eq=False)
class TokenizedExample:
    """An example as `tokens_T`, int32: `prompt_length` of prompt, then the response, then the end token.

    In `learnt_T`, bool, the tokens are marked that training predicts. The response is the last message of a
    conversation, and all before it the prompt, which may hold tokens that are learnt as well.
    """

    example: Example
    tokens_T: np.ndarray
    prompt_length: int
    learnt_T: np.ndarray

    @property
    def response_length(self) -> int:
        """The number of the response's tokens, the end token included."""
        return len(self.tokens_T) - self.prompt_length


class Piece(NamedTuple):
    """What a batch takes of an example."""

    tokens_T: np.ndarray
    learnt_T: np.ndarray


class Flat(NamedTuple):
    """The arrays of K examples with N tokens in all.

    `index_K` is the example's place among those that were read, `ends_K` where its tokens end, `prompt_K` how
    many of them are prompt.
    """

    index_K: np.ndarray
    ends_K: np.ndarray
    prompt_K: np.ndarray
    tokens_N: np.ndarray
    learnt_N: np.ndarray


_BATCH = 8192
_KINDS = (np.int64, np.int64, np.int32, np.int32, np.bool_)


class Tokens(Sequence[TokenizedExample]):
    """The examples that were kept, each put together when it is asked for."""

    def __init__(self, examples: Sequence[Example], flat: Flat) -> None:
        """Of the examples that were read, and the arrays of those that were kept."""
        self._table = examples if isinstance(examples, ExampleTable) else table_of(examples)
        self.flat = flat
        self.lengths_K = np.diff(flat.ends_K, prepend=0)

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.flat.index_K)

    @overload
    def __getitem__(self, index: int) -> TokenizedExample: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[TokenizedExample, ...]: ...
    def __getitem__(self, index: int | slice) -> TokenizedExample | tuple[TokenizedExample, ...]:
        """The example, or the examples, at `index`."""
        if isinstance(index, slice):
            return tuple(self[one] for one in range(*index.indices(len(self))))
        place = range(len(self))[index]
        tokens_T, learnt_T = self.piece(place)
        example = self._table[int(self.flat.index_K[place])]
        return TokenizedExample(example, tokens_T, int(self.flat.prompt_K[place]), learnt_T)

    def __iter__(self) -> Iterator[TokenizedExample]:
        """The examples in order."""
        return (self[place] for place in range(len(self)))

    def piece(self, place: int) -> Piece:
        """The tokens of one example, and which of them are learnt."""
        end = self.flat.ends_K[place]
        start = end - self.lengths_K[place]
        return Piece(self.flat.tokens_N[start:end], self.flat.learnt_N[start:end])

    def ids(self, places_I: np.ndarray) -> tuple[str, ...]:
        """The ids of these examples."""
        return self._table.ids(self.flat.index_K[places_I])


class TokensWriter:
    """Arrays that grow by an example at a time."""

    def __init__(self, folder: Path | None = None) -> None:
        """Of no example yet; in memory, or in files of a folder."""
        self._whole: list[Flat] = []
        self._files = None if folder is None else [(folder / name).open("wb") for name in Flat._fields]
        self._end = 0
        self._index: list[int] = []
        self._prompt: list[int] = []
        self._tokens: list[Sequence[int]] = []
        self._learnt: list[np.ndarray] = []

    def append(self, index: int, tokens: Sequence[int], prompt_length: int, learnt_T: np.ndarray) -> None:
        """One more: the example that was read as number `index`."""
        self._index.append(index)
        self._prompt.append(prompt_length)
        self._tokens.append(tokens)
        self._learnt.append(learnt_T)
        if len(self._index) == _BATCH:
            self._flush()

    def _flush(self) -> None:
        if not self._index:
            return
        lengths = [len(tokens) for tokens in self._tokens]
        tokens_N = np.fromiter((token for tokens in self._tokens for token in tokens), np.int32, sum(lengths))
        ends_K = self._end + np.cumsum(lengths, dtype=np.int64)
        self._end = int(ends_K[-1])
        flat = Flat(
            np.array(self._index, np.int64),
            ends_K,
            np.array(self._prompt, np.int32),
            tokens_N,
            np.concatenate(self._learnt),
        )
        if self._files is None:
            self._whole.append(flat)
        else:
            for file, array in zip(self._files, flat, strict=True):
                array.tofile(file)
        self._index, self._prompt, self._tokens, self._learnt = [], [], [], []

    def flat(self) -> Flat:
        """All that was appended, where it is in memory; nothing more can be."""
        self._flush()
        if self._files is not None:
            for file in self._files:
                file.close()
        empty = Flat(*(np.zeros(0, kind) for kind in _KINDS))
        return Flat(*map(np.concatenate, zip(*(self._whole or [empty]), strict=True)))


def mapped_flat(folder: Path) -> Flat:
    """The arrays that a `TokensWriter` wrote into the folder, read from disk where they are asked for."""
    files = [folder / name for name in Flat._fields]
    return Flat(*(np.memmap(file, kind, "r") for file, kind in zip(files, _KINDS, strict=True)))
