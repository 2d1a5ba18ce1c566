"""The rows of one set, shuffled anew in every epoch, without end."""

import functools
from typing import Any, cast

import numpy as np

from tunix_exp.data.packing import best_fit
from tunix_exp.data.tokens import Tokens


class ShuffledRows:
    """Rows by their number in the order of their draw: a pure function of the seed and the number.

    A row is one example, or with `is_packed` as many as best-fit puts into `max_tokens`; then each epoch
    also shuffles what the rows hold, among examples of one length.
    """

    def __init__(self, kept: Tokens, *, seed: int, max_tokens: int, is_packed: bool) -> None:
        """Hold the examples; nothing is shuffled before a row is asked for."""
        self.kept = kept
        self._is_packed = is_packed
        self._lengths_N = lengths = kept.lengths_K
        # Row r has the examples members_N[starts_R[r]:starts_R[r + 1]].
        if is_packed:
            self._members_N, self._starts_R = best_fit(lengths, max_tokens)
        else:
            self._members_N, self._starts_R = np.arange(len(lengths)), np.arange(len(lengths) + 1)
        self.lengths_R = np.add.reduceat(lengths[self._members_N], self._starts_R[:-1])
        self._rows, self._examples = _shuffled(len(self), seed), _shuffled(len(lengths), seed)
        # Of the epoch that the loop is in, and of the one that it fetches the next batch from.
        self._filling = functools.lru_cache(maxsize=2)(self._shuffled_filling)

    def __len__(self) -> int:
        """The rows of an epoch."""
        return len(self._starts_R) - 1

    def row(self, number: int) -> int:
        """Which row comes as number `number`."""
        return cast(int, self._rows[number])

    def rows(self, numbers_P: np.ndarray) -> np.ndarray:
        """The same of several."""
        return np.fromiter((self.row(number) for number in numbers_P.tolist()), np.int64, len(numbers_P))

    def examples(self, number: int) -> np.ndarray:
        """The places of the examples in the row that comes as number `number`."""
        row = self.row(number)
        members = self._members_N[self._starts_R[row] : self._starts_R[row + 1]]
        return self._filling(number // len(self))[members] if self._is_packed else members

    def tokens(self, count: int) -> int:
        """How many tokens the first `count` rows have."""
        epochs, more = divmod(count, len(self))
        begun = self.lengths_R[self.rows(np.arange(epochs * len(self), epochs * len(self) + more))]
        return int(epochs * self.lengths_R.sum() + begun.sum())

    def _shuffled_filling(self, epoch: int) -> np.ndarray:
        """Which example stands for each index of the packed rows: any that is as long."""
        N = len(self._lengths_N)
        shuffled_N = np.fromiter((self._examples[epoch * N + n] for n in range(N)), np.int64, N)
        filling_N = np.empty_like(shuffled_N)
        by_length_N = np.argsort(self._lengths_N, kind="stable")
        filling_N[by_length_N] = shuffled_N[np.argsort(self._lengths_N[shuffled_N], kind="stable")]
        return filling_N


def _shuffled(count: int, seed: int) -> Any:
    # Only now: with Grain come Orbax, TensorStore and protocol buffers, 40 MB for who shuffles nothing.
    import grain

    return grain.MapDataset.range(count).seed(seed).shuffle().repeat()
