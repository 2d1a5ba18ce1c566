"""Arrow's columns from Python's values and numpy's arrays, by way of their bytes.

`pyarrow.array` looks whether what it gets is pandas', and to know imports that: 50 MB and 0.1 s of every run.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate, chain
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

MOST_BYTES = 2**31 - 1  # what the offsets of a column of texts reach


def texts(values_N: Sequence[str | None]) -> "pa.StringArray":
    """A column of texts, null where a value is None; OverflowError where they take more than MOST_BYTES."""
    import pyarrow as pa

    encoded_N = [b"" if value is None else value.encode() for value in values_N]
    missing_N = np.array([value is None for value in values_N], bool)
    validity = _bits(~missing_N) if missing_N.any() else None
    return pa.StringArray.from_buffers(
        len(values_N), _offsets(map(len, encoded_N)), pa.py_buffer(b"".join(encoded_N)), validity
    )


def lists_of_texts(values_N: Sequence[Sequence[str]]) -> "pa.ListArray":
    """A column whose values are lists of texts."""
    import pyarrow as pa

    offsets = pa.Array.from_buffers(pa.int32(), len(values_N) + 1, [None, _offsets(map(len, values_N))])
    return pa.ListArray.from_arrays(offsets, texts(list(chain.from_iterable(values_N))))


def mask(is_kept_N: np.ndarray) -> "pa.BooleanArray":
    """A column of booleans, to filter by."""
    import pyarrow as pa

    return pa.Array.from_buffers(pa.bool_(), len(is_kept_N), [None, _bits(is_kept_N)])


def places(places_I: np.ndarray) -> "pa.Int64Array":
    """A column of places, to take by."""
    import pyarrow as pa

    return pa.Array.from_buffers(
        pa.int64(), len(places_I), [None, pa.py_buffer(np.ascontiguousarray(places_I, np.int64))]
    )


def _offsets(lengths_N: Iterable[int]) -> "pa.Buffer":
    import pyarrow as pa

    offsets = np.fromiter(accumulate(lengths_N, initial=0), np.int64)
    if offsets[-1] > MOST_BYTES:
        raise OverflowError(f"a column of texts of {offsets[-1]} bytes, of at most {MOST_BYTES}")
    return pa.py_buffer(offsets.astype(np.int32))


def _bits(flags_N: np.ndarray) -> "pa.Buffer":
    import pyarrow as pa

    return pa.py_buffer(np.packbits(flags_N, bitorder="little"))
