"""Several sets in one order of rows: which set a row is of follows from the weights and its place alone."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from tunix_exp.data.tokens import Tokens
from tunix_exp.errors import UserError

# An order is made for a whole period; of more rows than this, weights are no choice but noise.
_LONGEST_PERIOD = 2**16


class Weighted(NamedTuple):
    """A set, and its weight among the others, or the steps of its stage; a lone one has no name."""

    kept: Tokens
    name: str = ""
    weight: float | None = 1.0
    steps: int | None = None


class Interleaved:
    """An endless order of rows in which each set has its share, evenly spread.

    A period, the least number of rows in which all shares are whole, has exactly the shares. After any number
    of rows a set of share s among n sets has its share of them to within 1/2 + s·(n - 2)/2 rows.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        """Of sets with these weights; raises UserError where their period is too long."""
        exact = [Fraction(str(weight)) for weight in weights]
        scale = math.lcm(*(one.denominator for one in exact))
        whole = [int(one * scale) for one in exact]
        whole = [one // math.gcd(*whole) for one in whole]
        if sum(whole) > _LONGEST_PERIOD:
            raise UserError(
                f"the weights {', '.join(f'{weight:g}' for weight in weights)} come out even"
                f" only after {sum(whole):,} rows",
                where="data.mix",
                remedy=f"round them, so that it is at most {_LONGEST_PERIOD:,}: 3 and 1, or 0.75 and 0.25",
            )
        self._rows_N = np.array(whole)
        self.shares = tuple(one / sum(whole) for one in whole)
        set_S = np.repeat(np.arange(len(whole)), whole)
        rank_S = np.concatenate([np.arange(one) for one in whole])
        # Each row of a set stands at the middle of its own stretch of the period.
        order_S = np.argsort((2 * rank_S + 1) / (2 * self._rows_N[set_S]), kind="stable")
        self._set_S, self._rank_S = set_S[order_S], rank_S[order_S]

    def counts(self, rows: int) -> list[int]:
        """How many of the first `rows` are of each set."""
        periods, more = divmod(rows, len(self._set_S))
        begun_N = np.bincount(self._set_S[:more], minlength=len(self._rows_N))
        return (periods * self._rows_N + begun_N).tolist()

    def between(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Of each row from `start` up to `stop` its set, and how many of that set came before it."""
        period_P, place_P = np.divmod(np.arange(start, stop), len(self._set_S))
        set_P = self._set_S[place_P]
        return set_P, period_P * self._rows_N[set_P] + self._rank_S[place_P]


class Staged:
    """An order of rows in which the sets come one after another; after its last row the last set goes on."""

    def __init__(self, rows: Sequence[int]) -> None:
        """Of so many rows of each set."""
        self._ends_N = np.cumsum(rows)
        self._begins_N = self._ends_N - np.array(rows)
        self.shares = tuple(one / sum(rows) for one in rows)

    def counts(self, rows: int) -> list[int]:
        """How many of the first `rows` are of each set."""
        ends_N = np.append(self._ends_N[:-1], max(rows, int(self._ends_N[-1])))
        return np.maximum(np.minimum(ends_N, rows) - self._begins_N, 0).tolist()

    def between(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Of each row from `start` up to `stop` its set, and how many of that set came before it."""
        row_P = np.arange(start, stop)
        set_P = np.searchsorted(self._ends_N[:-1], row_P, side="right")
        return set_P, row_P - self._begins_N[set_P]
