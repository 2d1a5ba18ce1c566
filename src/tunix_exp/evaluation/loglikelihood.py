"""How likely continuations are, each the same number whatever it is asked together with.

As in `generate`: every call has the same number of rows, and a row's padded length depends on that row alone.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx

from tunix_exp.evaluation.generate import non_finite
from tunix_exp.evaluation.rounds import bucket
from tunix_exp.models.architecture import LanguageModel
from tunix_exp.models.loss import continuation_scores
from tunix_exp.models.sharding import rows_beside

_ROWS = 16


@dataclass(frozen=True, slots=True)
class Continuation:
    """The log-likelihood (nats) of a continuation, and whether greedy decoding would write it.

    `is_cut` says that the context was too long for the model and lost its beginning.
    """

    loglikelihood: float
    is_greedy: bool
    is_cut: bool


def loglikelihoods(
    model: LanguageModel,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    batch_size: int,
    on_batch: Callable[[int], None],
) -> list[Continuation]:
    """One for each pair of a context and its continuation, both of at least one token, in their order.

    What does not fit the model is cut off at the left; a continuation may have as many tokens as the model
    has positions. `on_batch(done)` is told after every `batch_size` pairs (rounded up to whole calls). Raises
    NonFinite where a log-likelihood is no number.
    """
    limit = model.num_positions
    for context, continuation in pairs:
        if not context or not 0 < len(continuation) <= limit:
            raise ValueError(f"{len(context)} tokens of context, {len(continuation)} of continuation")
    graphdef, params = nnx.split(model)
    apart = rows_beside(params, _ROWS)
    rows = [[*context, *continuation][-(limit + 1) :] for context, continuation in pairs]
    counted = [len(continuation) for _, continuation in pairs]
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i]), rows[i], counted[i]))
    blocks = list(_blocks(order, [_width(row, limit) for row in rows]))
    blocks_in_flight = -(-batch_size // _ROWS)
    found: dict[int, tuple[float, bool]] = {}
    for first in range(0, len(blocks), blocks_in_flight):
        batch = blocks[first : first + blocks_in_flight]
        # All calls are handed over before the first answer is waited for.
        arrays = [_arrays([rows[i] for i in block], [counted[i] for i in block], limit) for block in batch]
        calls = [_scores(graphdef)(params, *jax.device_put(part, apart)) for part in arrays]
        for block, (nll_B, is_greedy_B) in zip(batch, jax.device_get(calls), strict=True):
            figures = zip(block, nll_B.tolist(), is_greedy_B.tolist(), strict=False)
            found |= {index: (-nll, is_greedy) for index, nll, is_greedy in figures}
        broken = sum(not math.isfinite(nll) for nll, _ in found.values())
        if broken:
            raise non_finite(f"log-likelihoods of {broken} continuations")
        on_batch(len(found))
    return [
        Continuation(*found[index], is_cut=len(context) + len(continuation) > limit + 1)
        for index, (context, continuation) in enumerate(pairs)
    ]


def _blocks(order: Sequence[int], widths: Sequence[int]) -> list[list[int]]:
    """The indices in their order, at most `_ROWS` of one width together."""
    blocks: list[list[int]] = []
    for index in order:
        if not blocks or len(blocks[-1]) == _ROWS or widths[blocks[-1][0]] != widths[index]:
            blocks.append([])
        blocks[-1].append(index)
    return blocks


def _width(row: Sequence[int], limit: int) -> int:
    """The padded length of a row; its last token is no input."""
    return min(bucket(len(row) - 1), limit)


def _arrays(rows: Sequence[Sequence[int]], counted: Sequence[int], limit: int) -> tuple[np.ndarray, ...]:
    """Inputs, segments, targets, and the targets that count, each B × T; missing rows are segment 0."""
    shape = _ROWS, _width(rows[0], limit)
    tokens_BT, segment_ids_BT, target_BT = (np.zeros(shape, np.int32) for _ in range(3))
    counted_BT = np.zeros(shape, bool)
    for place, (row, count) in enumerate(zip(rows, counted, strict=True)):
        end = len(row) - 1
        tokens_BT[place, :end], target_BT[place, :end] = row[:-1], row[1:]
        segment_ids_BT[place, :end] = 1
        counted_BT[place, end - count : end] = True
    return tokens_BT, segment_ids_BT, target_BT, counted_BT


@functools.cache
def _scores(graphdef: nnx.GraphDef[Any]) -> Any:
    """One program for a width; base and trained model share it."""
    return jax.jit(lambda params, *rows: continuation_scores(nnx.merge(graphdef, params), *rows))
