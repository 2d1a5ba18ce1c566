"""Which examples share a row, and which widths rows have, so that little of a row is padding."""

from collections.abc import Sequence

import numpy as np

_WIDTH_MULTIPLE = 16


def rows_of(lengths_N: np.ndarray, *, max_tokens: int, is_packed: bool) -> int:
    """How many rows examples of these lengths make."""
    return len(best_fit(lengths_N, max_tokens)[1]) - 1 if is_packed else len(lengths_N)


def best_fit(lengths_N: np.ndarray, capacity: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of indices, each index in one row, no row longer than `capacity` (best-fit decreasing).

    From the longest to the shortest, each goes into the row whose room it fills best, or into a new one. The
    first array has the indices, row by row; those of row r begin at element r of the second.
    """
    order_N = np.argsort(-lengths_N, kind="stable")
    row_N = np.empty(len(lengths_N), np.int64)
    rows = 0
    # by_room[r] are the rows with room r left, and bit r of `rooms` says whether there are any.
    by_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    rooms = 0
    for place, length in enumerate(lengths_N[order_N].tolist()):
        if not 0 < length <= capacity:
            raise ValueError(f"a length of {length} does not go into rows of {capacity}")
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            row = by_room[room].pop()
            if not by_room[room]:
                rooms ^= 1 << room
        else:
            room, row = capacity, rows
            rows += 1
        row_N[place] = row
        by_room[room - length].append(row)
        rooms |= 1 << (room - length)
    starts_R = np.concatenate([[0], np.cumsum(np.bincount(row_N, minlength=rows))])
    return order_N[np.argsort(row_N, kind="stable")], starts_R


def round_up(length: int) -> int:
    """The least width that holds `length`."""
    return -(-length // _WIDTH_MULTIPLE) * _WIDTH_MULTIPLE


def least_padding(lengths: Sequence[int] | np.ndarray, count: int, limit: int) -> tuple[int, ...]:
    """At most `count` widths that hold every length with the fewest padded tokens, by dynamic programming.

    They are multiples of 16, or the `limit`, which no length exceeds; the last holds the longest.
    """
    rounded_N = np.minimum(-(-np.asarray(lengths) // _WIDTH_MULTIPLE) * _WIDTH_MULTIPLE, limit)
    candidates_C, rows_C = np.unique(rounded_N, return_counts=True)
    before = np.concatenate([[0], np.cumsum(rows_C)])
    # least[j] is the cost of the rows below candidate j; chosen[k][j] the candidates below its last width.
    least = np.where(before == 0, 0.0, np.inf)
    chosen: list[list[int]] = []
    for _ in range(min(count, len(candidates_C))):
        costs = [
            least[: j + 1] + (before[j + 1] - before[: j + 1]) * width for j, width in enumerate(candidates_C)
        ]
        chosen.append([int(cost.argmin()) for cost in costs])
        least = np.concatenate([[0.0], [cost.min() for cost in costs]])
    widths: list[int] = []
    end = len(candidates_C)
    for below in reversed(chosen):
        if end > 0:
            widths.append(int(candidates_C[end - 1]))
            end = below[end - 1]
    return tuple(reversed(widths))


def may_close(counts_K: np.ndarray, batch_size: int, *, start: int, size: int) -> set[int]:
    """The buckets that some shuffle lets a batch end in, so that the batch has the bucket's width.

    Of epochs that hold `counts_K` rows in the buckets, from the narrowest on, `size` rows are taken from the
    place `start` of an epoch on, sorted by their buckets and cut into batches.
    """
    rows = int(counts_K.sum())
    rest = min(-start % rows, size)
    epochs, begun = divmod(size - rest, rows)
    parts = [part for part in (rest, begun) if part]
    found: set[int] = set()
    narrower = 0
    for bucket, count in enumerate(counts_K.tolist()):
        wider = rows - narrower - count
        # So many rows of the epochs that are not whole may be narrower, and so many of this bucket then.
        least = sum(max(0, part - count - wider) for part in parts)
        most = sum(min(part, narrower) for part in parts)
        narrower_X = np.arange(least, most + 1)
        own_X = np.minimum(count * len(parts), sum(parts) - narrower_X)
        before_X = epochs * narrower + narrower_X
        through_X = before_X + epochs * count + own_X
        if (through_X // batch_size * batch_size > before_X).any():
            found.add(bucket)
        narrower += count
    return found
