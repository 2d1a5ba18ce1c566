"""Batches as a pure function of (seed, step): the data state of a run is its step number."""

import bisect
import functools
import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tunix_exp.data.batch import Batch, laid_out
from tunix_exp.data.mixture import Interleaved, Staged, Weighted
from tunix_exp.data.packing import least_padding, may_close
from tunix_exp.data.shuffled import ShuffledRows
from tunix_exp.errors import UserError

Batching = Literal["padded", "buckets", "packed"]

# Grain takes 32 bits of seed.
_MOST_SEED = 2**32 - 1

# A quarter of a second of shuffling, to see which widths come; each row costs what twenty draws do besides.
_MOST_DRAWS = 500_000
_ROW_DRAWS = 20


@dataclass(frozen=True, slots=True)
class PartStatistics:
    """What one set is of a mixture: its share of the rows, the steps of one pass through it, and of a stage
    its first and last step.
    """

    examples: int
    rows: int
    share: float
    steps_per_pass: float
    stage: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class BatchStatistics:
    """How one epoch goes into batches; `utilisation` is real tokens over all of them, padding included.

    `batches_of_width` counts the batches of an epoch, rounded up to whole ones. Of a mixture both are of as
    many rows as all its sets have, and an epoch is a pass through the set that takes longest, or through all
    stages. `sets` are its parts by name; without a mixture there are none.
    """

    batching: Batching
    examples: int
    rows: int
    examples_per_row: float
    steps_per_epoch: float
    utilisation: float
    batches_of_width: dict[int, int]
    sets: dict[str, PartStatistics]

    def describe(self) -> str:
        """The same in a line."""
        held = f" of {self.examples_per_row:.1f} examples" if self.batching == "packed" else ""
        widths = ", ".join(f"{count} × {width} tokens" for width, count in self.batches_of_width.items())
        return (
            f"{self.batching}; {self.rows} rows{held}, {self.steps_per_epoch:.1f} steps per epoch "
            f"({widths}); padding: {100 * (1 - self.utilisation):.1f} % of the token slots"
        )

    def describe_sets(self) -> Iterator[str]:
        """The same of a mixture's sets, a line each."""
        for name, one in self.sets.items():
            when = f"{100 * one.share:.1f} % of the rows"
            if one.stage is not None:
                when = f"steps {one.stage[0]:,} to {one.stage[1]:,}"
            yield f"{name}: {when}; its {one.rows} are gone through in {one.steps_per_pass:.1f} steps"


class Batches:
    """`batches[step]` is the batch of that step, from 0, without end.

    A row is one example, or with `packed` as many of one set as best-fit puts into `max_tokens`. Every epoch
    is a new shuffle of a set's rows (and of what they hold); where the batch size does not divide them, a
    batch holds the end of one epoch and the beginning of the next. The rows of several sets come in the order
    of `Interleaved`, or stage after stage, and each set in a shuffle of its own.

    With `buckets` each row goes, in that order, to the batch of its width, and a batch comes when it is full.
    At the end of an epoch's steps, rounded up, the batches begun for neighbouring widths are joined: those
    steps see the rows that they see without buckets.
    """

    def __init__(
        self,
        sets: Sequence[Weighted],
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
        self._batching: Batching = batching
        self._batch_size = batch_size
        self._pad_id = pad_id
        self._sets = [
            ShuffledRows(
                one.kept,
                seed=seed if len(sets) == 1 else _seed_of(one.name, seed),
                max_tokens=max_tokens,
                is_packed=batching == "packed",
            )
            for one in sets
        ]
        self._names = [one.name for one in sets]
        self._stages = [one.steps for one in sets if one.steps is not None]
        if self._stages:
            self._order = Staged([steps * batch_size for steps in self._stages])
        else:
            self._order = Interleaved([one.weight for one in sets if one.weight is not None])
        lengths = np.concatenate([one.kept.lengths_K for one in sets])
        self._rows = sum(map(len, self._sets))
        if isinstance(bucket_widths, int):
            self._widths = least_padding(lengths, bucket_widths, max_tokens)
        elif bucket_widths is not None:
            self._widths = tuple(sorted({min(width, max_tokens) for width in bucket_widths}))
        else:
            self._widths = (max_tokens,)
        passes = [math.ceil(len(one) / batch_size) for one in self._sets]
        self._window_steps = math.ceil(self._rows / batch_size)
        self._windows = Windows(self._stages, passes if self._stages else [self._window_steps])
        # The one that the loop is in, and the one that it fetches the next batch from.
        self._window = functools.lru_cache(maxsize=2)(self._sorted_window)

    @property
    def steps_per_epoch(self) -> float:
        """How many steps see every example at least once, and of one set no more than once; or all stages."""
        return float(sum(self._stages)) if self._stages else max(self._steps_per_pass)

    @property
    def _steps_per_pass(self) -> list[float]:
        """How many steps see every example of each set once; while it is its turn, where they are stages."""
        shares = [1.0] * len(self._sets) if self._stages else self._order.shares
        return [len(one) / share / self._batch_size for one, share in zip(self._sets, shares, strict=True)]

    def __getitem__(self, step: int) -> Batch:
        """The batch of `step`; the same for the same seed, whatever was asked before."""
        if step < 0:
            raise IndexError(f"steps count from 0; got {step}")
        set_B, number_B, width = self._drawn(step)
        numbers = zip(set_B.tolist(), number_B.tolist(), strict=True)
        drawn = [(of, self._sets[of].examples(number)) for of, number in numbers]
        pieces = [[self._sets[of].kept.piece(place) for place in members] for of, members in drawn]
        ids: dict[int, Iterator[str]] = {}
        for of in {of for of, _ in drawn}:
            ids[of] = iter(self._sets[of].kept.ids(np.concatenate([row for one, row in drawn if one == of])))
        names = tuple(next(ids[of]) for of, members in drawn for _ in members)
        return laid_out(pieces, names, set_B, width=width, pad_id=self._pad_id)

    def _drawn(self, step: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Of the rows in the step's batch each one's set and its number there, and the batch's width."""
        if len(self._widths) == 1:
            # The order of the rows is that of the batches: none but these has to be drawn.
            start = step * self._batch_size
            return *self._order.between(start, start + self._batch_size), self._widths[0]
        first, steps = self._windows.of(step)
        (set_P, number_P), place_SB, width_S = self._window(first, steps)
        places_B = place_SB[step - first]
        return set_P[places_B], number_P[places_B], int(width_S[step - first])

    def widths(self, steps: int) -> tuple[int, ...]:
        """The widths, ascending, that the batches of the first `steps` steps have.

        Where that would take a shuffle of too many epochs, the widths that their batches may have: those that
        some order of the rows gives, of a mixture those of all rows.
        """
        rows, in_window = self._rows, self._window_steps * self._batch_size
        bucket_R = np.searchsorted(self._widths, np.concatenate([one.lengths_R for one in self._sets]))
        possible = {self._widths[bucket] for bucket in np.unique(bucket_R)}
        if len(possible) == 1:
            return tuple(possible)
        if self._stages:
            is_too_much = self._draws_of(steps * self._batch_size) > _MOST_DRAWS
            return tuple(sorted(possible if is_too_much else set(self._widths_of(steps))))
        found: set[int] = set()
        windows = range(math.ceil(steps / self._window_steps))
        # Whole epochs of one set hold the same rows in any order: one window tells of all.
        is_mixed = len(self._sets) > 1
        alike = not is_mixed and in_window % rows == 0
        to_see = min(len(windows), 1 if alike else max(1, _MOST_DRAWS // self._draws_of(in_window)))
        for window in windows[:to_see]:
            first = window * self._window_steps
            found |= set(self._window(first, self._window_steps)[2][: steps - first].tolist())
            if found == possible:
                break
        else:
            if is_mixed and windows[to_see:]:
                found = possible
            elif not alike:
                counts_K = np.bincount(bucket_R, minlength=len(self._widths))
                for start in {window * in_window % rows for window in windows[to_see:]}:
                    closing = may_close(counts_K, self._batch_size, start=start, size=in_window)
                    found |= {self._widths[bucket] for bucket in closing}
        return tuple(sorted(found))

    def _widths_of(self, steps: int) -> list[int]:
        """The widths of the first batches, in their order."""
        found: list[int] = []
        while len(found) < steps:
            found += self._window(*self._windows.of(len(found)))[2].tolist()
        return found[:steps]

    def _draws_of(self, count: int) -> int:
        """What it costs to shuffle so many rows: Grain draws from 2¹⁶ until a number is one of the rows."""
        return count * max(_ROW_DRAWS, 2**16 // min(map(len, self._sets)))

    def statistics(self) -> BatchStatistics:
        """How the first epoch, or all stages, go into batches."""
        steps = sum(self._stages) or self._window_steps
        rows = steps * self._batch_size
        counts = self._order.counts(rows)
        tokens = sum(one.tokens(count) for one, count in zip(self._sets, counts, strict=True))
        batches = {self._widths[0]: steps}
        if len(self._widths) > 1:
            batches = dict(sorted(Counter(self._widths_of(steps)).items()))
        slots = sum(width * count for width, count in batches.items()) * self._batch_size
        examples = sum(len(one.kept) for one in self._sets)
        return BatchStatistics(
            batching=self._batching,
            examples=examples,
            rows=self._rows,
            examples_per_row=examples / self._rows,
            steps_per_epoch=self.steps_per_epoch,
            utilisation=float(tokens / slots),
            batches_of_width=batches,
            sets=dict(zip(self._names, self._parts(), strict=True)) if len(self._sets) > 1 else {},
        )

    def _parts(self) -> Iterator[PartStatistics]:
        ends = list(itertools.accumulate(self._stages))
        stages = [(end - steps + 1, end) for end, steps in zip(ends, self._stages, strict=True)]
        parts = zip(self._sets, self._order.shares, self._steps_per_pass, strict=True)
        for (one, share, steps), stage in zip(parts, stages or [None] * len(self._sets), strict=True):
            yield PartStatistics(len(one.kept), len(one), share, steps, stage)

    def _sorted_window(
        self, first: int, steps: int
    ) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
        """The rows of `steps` steps from `first` on as they come, which each batch holds, and its width."""
        count = steps * self._batch_size
        set_P, number_P = self._order.between(first * self._batch_size, first * self._batch_size + count)
        length_P = np.zeros(count, np.int64)
        for of, one in enumerate(self._sets):
            length_P[set_P == of] = one.lengths_R[one.rows(number_P[set_P == of])]
        bucket_P = np.searchsorted(self._widths, length_P)
        place_SB = np.argsort(bucket_P, kind="stable").reshape(-1, self._batch_size)
        # A batch is full when the last of its rows has come.
        place_SB = place_SB[np.argsort(place_SB.max(axis=1))]
        return (set_P, number_P), place_SB, np.array(self._widths)[bucket_P[place_SB].max(axis=1)]


class Windows:
    """Stretches of steps in which rows go to the batches of their widths: an epoch, of one stage alone."""

    def __init__(self, stages: Sequence[int], passes: Sequence[int]) -> None:
        """Of stages of so many steps, or of one without end; `passes` are the steps of an epoch of each."""
        self._begins = [0, *itertools.accumulate(stages)]  # after the last stage its set goes on
        self._passes = [*passes, passes[-1]]

    def of(self, step: int) -> tuple[int, int]:
        """The first step of the stretch that `step` is in, and how many steps it has."""
        stage = bisect.bisect_right(self._begins, step) - 1
        begin, steps = self._begins[stage], self._passes[stage]
        first = begin + (step - begin) // steps * steps
        is_last = stage + 1 == len(self._begins)
        return first, steps if is_last else min(steps, self._begins[stage + 1] - first)


def _seed_of(name: str, seed: int) -> int:
    """A seed for one set of several: its order does not depend on which others there are."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:4])
