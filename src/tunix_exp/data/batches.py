"""Batches as a pure function of (seed, step): the data state of a run is its step number."""

import functools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import grain
import numpy as np

from tunix_exp.data.packing import best_fit, least_padding, may_close
from tunix_exp.data.tokenize import Tokenized
from tunix_exp.data.tokens import Piece, TokenizedExample
from tunix_exp.errors import UserError

Batching = Literal["padded", "buckets", "packed"]
Row = Sequence[TokenizedExample | Piece]
"""The examples of one row, in their order."""

# Grain takes 32 bits of seed.
_MOST_SEED = 2**32 - 1

# A quarter of a second of shuffling, to see which widths come; each row costs what twenty draws do besides.
_MOST_DRAWS = 500_000
_ROW_DRAWS = 20


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One batch on the host.

    `tokens_BT` int32, padded at the right; `segment_ids_BT` int32, 1, 2, … for the examples of a row and 0
    where it is padding; `loss_mask_BT` bool, true where the token is learnt, as each example says.
    """

    tokens_BT: np.ndarray
    segment_ids_BT: np.ndarray
    loss_mask_BT: np.ndarray
    example_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BatchStatistics:
    """How one epoch goes into batches; `utilisation` is real tokens over all of them, padding included.

    `batches_of_width` counts the batches of an epoch, rounded up to whole ones.
    """

    batching: Batching
    examples: int
    rows: int
    examples_per_row: float
    steps_per_epoch: float
    utilisation: float
    batches_of_width: dict[int, int]

    def describe(self) -> str:
        """The same in a line."""
        held = f" of {self.examples_per_row:.1f} examples" if self.batching == "packed" else ""
        widths = ", ".join(f"{count} × {width} tokens" for width, count in self.batches_of_width.items())
        return (
            f"{self.batching}; {self.rows} rows{held}, {self.steps_per_epoch:.1f} steps per epoch "
            f"({widths}); padding: {100 * (1 - self.utilisation):.1f} % of the token slots"
        )


class Batches:
    """`batches[step]` is the batch of that step, from 0, without end.

    A row is one example, or with `packed` as many as best-fit puts into `max_tokens`. Every epoch is a new
    shuffle of the rows (and of what they hold); where the batch size does not divide them, a batch holds the
    end of one epoch and the beginning of the next.

    With `buckets` each row goes, in that order, to the batch of its width, and a batch comes when it is full.
    At the end of an epoch's steps, rounded up, the batches begun for neighbouring widths are joined: those
    steps see the rows that they see without buckets.
    """

    def __init__(
        self,
        tokenized: Tokenized,
        *,
        seed: int,
        batch_size: int,
        max_tokens: int,
        pad_id: int,
        batching: Batching,
        bucket_widths: int | tuple[int, ...] | None,
    ) -> None:
        """Hold the examples; nothing is shuffled before a batch is asked for."""
        if not 0 <= seed <= _MOST_SEED:
            raise UserError(
                f"the seed {seed} is out of range", where="seed", remedy=f"choose one from 0 to {_MOST_SEED}"
            )
        self._kept = tokenized.kept
        self._batching: Batching = batching
        self._batch_size = batch_size
        self._pad_id = pad_id
        self._lengths_N = lengths = self._kept.lengths_K
        # Row r has the examples members_N[starts_R[r]:starts_R[r + 1]].
        if batching == "packed":
            self._members_N, self._starts_R = best_fit(lengths, max_tokens)
        else:
            self._members_N, self._starts_R = np.arange(len(lengths)), np.arange(len(lengths) + 1)
        self._rows = len(self._starts_R) - 1
        self._row_lengths_R = np.add.reduceat(lengths[self._members_N], self._starts_R[:-1])
        if isinstance(bucket_widths, int):
            self._widths = least_padding(lengths, bucket_widths, max_tokens)
        elif bucket_widths is not None:
            self._widths = tuple(sorted({min(width, max_tokens) for width in bucket_widths}))
        else:
            self._widths = (max_tokens,)
        self._window_steps = math.ceil(self._rows / batch_size)
        self._shuffled = grain.MapDataset.range(self._rows).seed(seed).shuffle().repeat()
        self._windows = self._shuffled.batch(self._window_steps * batch_size)
        shuffled = grain.MapDataset.range(len(lengths)).seed(seed).shuffle().repeat()
        self._fillings = shuffled.batch(len(lengths))
        # The one that the loop is in, and the one that it fetches the next batch from.
        self._window = functools.lru_cache(maxsize=2)(self._sorted_window)
        self._filling = functools.lru_cache(maxsize=2)(self._shuffled_filling)

    @property
    def steps_per_epoch(self) -> float:
        """How many steps see every example once."""
        return self._rows / self._batch_size

    def __getitem__(self, step: int) -> Batch:
        """The batch of `step`; the same for the same seed, whatever was asked before."""
        if step < 0:
            raise IndexError(f"steps count from 0; got {step}")
        drawn, width = self._drawn(step)
        rows = []
        for row, epoch in drawn:
            members = self._members_N[self._starts_R[row] : self._starts_R[row + 1]]
            rows.append(members if self._batching != "packed" else self._filling(epoch)[members])
        pieces = [[self._kept.piece(place) for place in row] for row in rows]
        ids = self._kept.ids(np.concatenate(rows))
        return laid_out(pieces, ids, width=width, pad_id=self._pad_id)

    def _drawn(self, step: int) -> tuple[list[tuple[int, int]], int]:
        """The rows of the step's batch, each with its epoch, and the batch's width."""
        if len(self._widths) == 1:
            # The order of the rows is that of the batches: none but these has to be drawn.
            places = range(step * self._batch_size, (step + 1) * self._batch_size)
            return [(self._row_at(place), place // self._rows) for place in places], self._widths[0]
        window, within = divmod(step, self._window_steps)
        rows_P, place_SB, width_S = self._window(window)
        first = window * len(rows_P)
        drawn = [(int(rows_P[place]), int(first + place) // self._rows) for place in place_SB[within]]
        return drawn, int(width_S[within])

    def _row_at(self, place: int) -> int:
        return cast(int, self._shuffled[place])

    def widths(self, steps: int) -> tuple[int, ...]:
        """The widths, ascending, that the batches of the first `steps` steps have.

        Where that would take a shuffle of too many epochs, the widths that their batches may have: those that
        some order of the rows gives.
        """
        rows, in_window = self._rows, self._window_steps * self._batch_size
        bucket_R = np.searchsorted(self._widths, self._row_lengths_R)
        possible = {self._widths[bucket] for bucket in np.unique(bucket_R)}
        if len(possible) == 1:
            return tuple(possible)
        found: set[int] = set()
        windows = range(math.ceil(steps / self._window_steps))
        # Whole epochs hold the same rows in any order: one window tells of all.
        alike = in_window % rows == 0
        to_see = min(len(windows), 1 if alike else max(1, _MOST_DRAWS // self._draws_of(in_window)))
        for window in windows[:to_see]:
            found |= set(self._window(window)[2][: steps - window * self._window_steps].tolist())
            if found == possible:
                break
        else:
            if not alike:
                counts_K = np.bincount(bucket_R, minlength=len(self._widths))
                for start in {window * in_window % rows for window in windows[to_see:]}:
                    closing = may_close(counts_K, self._batch_size, start=start, size=in_window)
                    found |= {self._widths[bucket] for bucket in closing}
        return tuple(sorted(found))

    def _draws_of(self, count: int) -> int:
        """What it costs to shuffle so many rows: Grain draws from 2¹⁶ until a number is one of the rows."""
        return count * max(_ROW_DRAWS, 2**16 // self._rows)

    def statistics(self) -> BatchStatistics:
        """How the first epoch goes into batches."""
        if len(self._widths) == 1:
            # One epoch, and what fills its last batch.
            more = range(self._rows, self._window_steps * self._batch_size)
            tokens = self._row_lengths_R.sum() + sum(self._row_lengths_R[self._row_at(one)] for one in more)
            batches = {self._widths[0]: self._window_steps}
        else:
            rows_P, _, width_S = self._window(0)
            tokens = self._row_lengths_R[rows_P].sum()
            batches = dict(sorted(Counter(width_S.tolist()).items()))
        slots = sum(width * count for width, count in batches.items()) * self._batch_size
        return BatchStatistics(
            batching=self._batching,
            examples=len(self._kept),
            rows=self._rows,
            examples_per_row=len(self._kept) / self._rows,
            steps_per_epoch=self.steps_per_epoch,
            utilisation=float(tokens / slots),
            batches_of_width=batches,
        )

    def _sorted_window(self, window: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The next rows as they come, which of them each batch holds, and the batch's width."""
        rows_P = cast(np.ndarray, self._windows[window])
        bucket_P = np.searchsorted(self._widths, self._row_lengths_R[rows_P])
        place_SB = np.argsort(bucket_P, kind="stable").reshape(-1, self._batch_size)
        # A batch is full when the last of its rows has come.
        place_SB = place_SB[np.argsort(place_SB.max(axis=1))]
        return rows_P, place_SB, np.array(self._widths)[bucket_P[place_SB].max(axis=1)]

    def _shuffled_filling(self, epoch: int) -> np.ndarray:
        """Which example stands for each index of the packed rows: any that is as long."""
        shuffled_N = cast(np.ndarray, self._fillings[epoch])
        filling_N = np.empty_like(shuffled_N)
        by_length_N = np.argsort(self._lengths_N, kind="stable")
        filling_N[by_length_N] = shuffled_N[np.argsort(self._lengths_N[shuffled_N], kind="stable")]
        return filling_N


def laid_out(rows: Sequence[Row], ids: tuple[str, ...], *, width: int, pad_id: int) -> Batch:
    """The rows as one batch of `width` columns: the examples of a row one after another, then padding.

    `ids` are those of all examples in their order.
    """
    shape = (len(rows), width)
    tokens_BT = np.full(shape, pad_id, dtype=np.int32)
    segment_ids_BT = np.zeros(shape, dtype=np.int32)
    loss_mask_BT = np.zeros(shape, dtype=bool)
    for place, row in enumerate(rows):
        start = 0
        for segment, example in enumerate(row, start=1):
            end = start + len(example.tokens_T)
            tokens_BT[place, start:end] = example.tokens_T
            segment_ids_BT[place, start:end] = segment
            loss_mask_BT[place, start:end] = example.learnt_T
            start = end
    return Batch(tokens_BT, segment_ids_BT, loss_mask_BT, ids)
