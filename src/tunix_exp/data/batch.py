"""One batch on the host, laid out of rows of examples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunix_exp.data.tokens import Piece, TokenizedExample

Row = Sequence[TokenizedExample | Piece]
"""The examples of one row, in their order."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One batch on the host.

    `tokens_BT` int32, padded at the right; `segment_ids_BT` int32, 1, 2, … for the examples of a row and 0
    where it is padding; `loss_mask_BT` bool, true where the token is learnt, as each example says; `set_B`
    int32, the number of the set that each row is of.
    """

    tokens_BT: np.ndarray
    segment_ids_BT: np.ndarray
    loss_mask_BT: np.ndarray
    set_B: np.ndarray
    example_ids: tuple[str, ...]


def laid_out(
    rows: Sequence[Row],
    ids: tuple[str, ...],
    set_B: np.ndarray | None = None,
    *,
    width: int,
    pad_id: int,
) -> Batch:
    """The rows as one batch of `width` columns: the examples of a row one after another, then padding.

    `ids` are those of all examples in their order, `set_B` the sets of the rows, where there are several.
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
    set_B = np.zeros(len(rows), np.int32) if set_B is None else set_B.astype(np.int32)
    return Batch(tokens_BT, segment_ids_BT, loss_mask_BT, set_B, ids)
