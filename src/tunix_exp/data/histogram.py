"""How often lengths come, in a few bins with round edges."""

from typing import NamedTuple

import numpy as np

_MOST_BINS = 10
# So many times longer than the median is a tail: bins then double.
_TAIL = 20


class Bin(NamedTuple):
    """The number of lengths from `low` to `high`, both included."""

    low: int
    high: int
    number: int


def histogram(lengths_N: np.ndarray) -> tuple[Bin, ...]:
    """At most ten bins, as wide as 1, 2 or 5 times a power of ten; or each twice the last for a long tail."""
    least, most = int(lengths_N.min()), int(lengths_N.max())
    if most > _TAIL * np.median(lengths_N):
        bin_N = np.floor(np.log2(lengths_N)).astype(np.int64)
        edges = [2**power for power in range(int(bin_N.min()), int(bin_N.max()) + 2)]
        bin_N -= bin_N.min()
    else:
        widths = (digit * 10**power for power in range(20) for digit in (1, 2, 5))
        width = next(width for width in widths if most // width - least // width < _MOST_BINS)
        edges = [width * number for number in range(least // width, most // width + 2)]
        bin_N = lengths_N // width - least // width
    counts = np.bincount(bin_N, minlength=len(edges) - 1).tolist()
    return tuple(
        Bin(low, high - 1, number) for low, high, number in zip(edges[:-1], edges[1:], counts, strict=True)
    )
