"""Cross-entropy of a causal language model on the tokens that it is to learn.

Training and held-out evaluation both stand on these few lines. Two more axis letters: S shards of rows, and
N tokens of a shard, those that count first. K of them are a chunk.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tunix_exp.models.architecture import LanguageModel
from tunix_exp.models.layers import Unembedding, tall_product
from tunix_exp.models.sharding import is_whole, row_shards

# At most so many logits exist at a time for each shard of rows: 128 MiB of float32. Of Gemma's vocabulary
# that is 131 tokens, over whose arithmetic the time to read the table, and to add to its gradient, is hidden.
CHUNK_LOGITS = 2**25
_ROWS_ADDED = 2**14


def positions_of(segment_ids_BT: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """Positions that count from 0 at the first token of every segment."""
    index_T = jnp.arange(segment_ids_BT.shape[1])
    previous_BT = jnp.pad(segment_ids_BT[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
    start_BT = jnp.where(segment_ids_BT != previous_BT, index_T[None, :], 0)
    return index_T[None, :] - jax.lax.cummax(start_BT, axis=1)


def response_nll(
    model: LanguageModel,
    tokens_BT: Int[Array, "B T"],
    segment_ids_BT: Int[Array, "B T"],
    loss_mask_BT: Bool[Array, "B T"],
    *,
    chunk_logits: int = CHUNK_LOGITS,
) -> tuple[Float[Array, " B"], Int[Array, " B"]]:
    """The summed negative log-likelihood (nats) of each row's marked tokens, and how many there are.

    A token is marked in `loss_mask_BT` at its own place and predicted from the place before it. Not to be
    differentiated: `summed_nll` is.
    """
    x_BTD, table_VD, target_BT, counted_BT = _predictions(model, tokens_BT, segment_ids_BT, loss_mask_BT)
    nll_BT = token_nll(model.unembedding, table_VD, x_BTD, target_BT, counted_BT, chunk_logits=chunk_logits)
    return jnp.sum(nll_BT, axis=1), jnp.sum(counted_BT, axis=1)


def summed_nll(
    model: LanguageModel,
    tokens_BT: Int[Array, "B T"],
    segment_ids_BT: Int[Array, "B T"],
    loss_mask_BT: Bool[Array, "B T"],
    scale: Float[Array, ""] | float = 1.0,
    *,
    chunk_logits: int = CHUNK_LOGITS,
) -> Float[Array, ""]:
    """The negative log-likelihood (nats) of all marked tokens times `scale`, to be differentiated."""
    x_BTD, table_VD, target_BT, counted_BT = _predictions(model, tokens_BT, segment_ids_BT, loss_mask_BT)
    weight_BT = counted_BT * jnp.float32(scale)
    return _weighted(model.unembedding, chunk_logits, table_VD, x_BTD, target_BT, weight_BT)


def count(loss_mask_BT: Bool[Array, "B T"]) -> Int[Array, ""]:
    """How many marked tokens have a token before them."""
    return jnp.sum(loss_mask_BT[:, 1:])


def token_nll(
    unembedding: Unembedding,
    table_VD: Float[Array, "V D"],
    x_BTD: Float[Array, "B T D"],
    target_BT: Int[Array, "B T"],
    counted_BT: Bool[Array, "B T"],
    *,
    chunk_logits: int = CHUNK_LOGITS,
) -> Float[Array, "B T"]:
    """The negative log-likelihood (nats) of each target that counts, and 0 for the others."""
    chunks = _Chunks.of(x_BTD, target_BT, counted_BT, chunk_logits // table_VD.shape[0])

    def piece(index: Array, nll_SN: Array) -> Array:
        x_SKD, target_SK, counted_SK = chunks[index]
        nll_SK = _soft_max(unembedding.logits(x_SKD, table_VD), target_SK)[2]
        return chunks.put(nll_SN, jnp.where(counted_SK, nll_SK, 0.0), index)

    nll_SN = chunks.each(piece, jnp.zeros(chunks.target_SN.shape, jnp.float32))
    return chunks.back(nll_SN, counted_BT.shape)


def continuation_scores(
    model: LanguageModel,
    tokens_BT: Int[Array, "B T"],
    segment_ids_BT: Int[Array, "B T"],
    target_BT: Int[Array, "B T"],
    counted_BT: Bool[Array, "B T"],
    *,
    chunk_logits: int = CHUNK_LOGITS,
) -> tuple[Float[Array, " B"], Bool[Array, " B"]]:
    """The summed negative log-likelihood (nats) of each row's counted targets, and whether each of them is
    the first of the best.

    The target of a place is the token after it, so that a row may end with the model's last position.
    """
    positions_BT = positions_of(segment_ids_BT)
    x_BTD, table_VD = model.embed(tokens_BT, positions_BT)
    x_BTD, _ = model.decode(x_BTD, positions_BT, segment_ids_BT)
    chunks = _Chunks.of(x_BTD, target_BT, counted_BT, chunk_logits // table_VD.shape[0])

    def piece(index: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        nll_SN, is_best_SN = carry
        x_SKD, target_SK, counted_SK = chunks[index]
        logits_SKV = model.unembedding.logits(x_SKD, table_VD)
        nll_SK = jnp.where(counted_SK, _soft_max(logits_SKV, target_SK)[2], 0.0)
        is_best_SK = (first_best(logits_SKV) == target_SK) | ~counted_SK
        return chunks.put(nll_SN, nll_SK, index), chunks.put(is_best_SN, is_best_SK, index)

    shape = chunks.target_SN.shape
    start = jnp.zeros(shape, jnp.float32), jnp.ones(shape, bool)
    nll_BT, is_best_BT = (chunks.back(part, target_BT.shape) for part in chunks.each(piece, start))
    return jnp.sum(nll_BT, axis=1), jnp.all(is_best_BT, axis=1)


def first_best(logits: Float[Array, "... V"]) -> Int[Array, "..."]:
    """The first of the largest, as `argmax` says it, which takes XLA four times as long on a CPU."""
    V = logits.shape[-1]
    is_best = logits == logits.max(axis=-1, keepdims=True)
    index = jnp.arange(V, dtype=jnp.int32).reshape((1,) * (logits.ndim - 1) + (V,))
    return jnp.where(is_best, index, V - 1).min(axis=-1)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _weighted(
    unembedding: Unembedding,
    chunk_logits: int,
    table_VD: Array,
    x_BTD: Array,
    target_BT: Array,
    weight_BT: Array,
) -> Array:
    """The sum of the targets' negative log-likelihoods, each times its weight."""
    nll_BT = token_nll(unembedding, table_VD, x_BTD, target_BT, weight_BT != 0, chunk_logits=chunk_logits)
    return jnp.sum(nll_BT * weight_BT)


def _weighted_fwd(
    unembedding: Unembedding,
    chunk_logits: int,
    table_VD: Array,
    x_BTD: Array,
    target_BT: Array,
    weight_BT: Array,
) -> tuple[Array, tuple[Array, Array]]:
    """The sum and its gradients, in one pass: so no chunk's logits are computed a second time."""
    chunks = _Chunks.of(x_BTD, target_BT, weight_BT, chunk_logits // table_VD.shape[0])
    dtype = unembedding.compute_dtype

    def piece(index: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        total, dtable_VD, dx_SND = carry
        x_SKD, target_SK, weight_SK = chunks[index]
        raw_SKV = unembedding.product(x_SKD, table_VD)
        logits_SKV, uncapped = jax.vjp(unembedding.capped, raw_SKV)
        exp_SKV, total_SK1, nll_SK = _soft_max(logits_SKV, target_SK)
        # weight/total times this is the gradient; where nothing stands between, it goes to the narrow side.
        d_SKV = _add_at(exp_SKV, target_SK, -total_SK1)
        factor_SK1 = weight_SK[..., None] / total_SK1
        (d_SKV,) = uncapped(d_SKV)
        d_SKV = d_SKV.astype(dtype)
        dx_SKD = jnp.einsum("skv,vd->skd", d_SKV, table_VD.astype(dtype)) * factor_SK1
        dtable_VD = _add_product(
            dtable_VD,
            d_SKV,
            (x_SKD * factor_SK1).astype(dtype),
            in_parts=chunks.order_SN is not None and is_whole(),
        )
        return (
            total + jnp.sum(nll_SK * weight_SK),
            dtable_VD,
            chunks.put(dx_SND, dx_SKD.astype(dx_SND.dtype), index),
        )

    zeros = jnp.float32(0), jnp.zeros_like(table_VD), jnp.zeros_like(chunks.x_SND)
    total, dtable_VD, dx_SND = chunks.each(piece, zeros)
    return total, (dtable_VD, chunks.back(dx_SND, x_BTD.shape))


def _weighted_bwd(
    unembedding: Unembedding, chunk_logits: int, gradients: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array, None, None]:
    dtable_VD, dx_BTD = gradients
    return dtable_VD * cotangent.astype(dtable_VD.dtype), dx_BTD * cotangent.astype(dx_BTD.dtype), None, None


_weighted.defvjp(_weighted_fwd, _weighted_bwd)


def _add_product(dtable_VD: Array, d_SKV: Array, x_SKD: Array, *, in_parts: bool) -> Array:
    """`dtable + dᵀ·x`; in parts, one after another, as XLA writes a product down before it adds it."""

    def add(dtable_VD: Array, first: Array | int, rows: int) -> Array:
        part_RD = tall_product(jax.lax.dynamic_slice_in_dim(d_SKV, first, rows, axis=2), x_SKD)
        now_RD = jax.lax.dynamic_slice_in_dim(dtable_VD, first, rows, axis=0)
        return jax.lax.dynamic_update_slice_in_dim(
            dtable_VD, now_RD + part_RD.astype(now_RD.dtype), first, axis=0
        )

    V = dtable_VD.shape[0]
    rows = min(_ROWS_ADDED, V) if in_parts else V
    dtable_VD = jax.lax.fori_loop(0, V // rows, lambda i, table_VD: add(table_VD, i * rows, rows), dtable_VD)
    return add(dtable_VD, V - V % rows, V % rows) if V % rows else dtable_VD


@dataclass(frozen=True)
class _Chunks:
    """Places of all rows, those that count before the others, to be gone through K of a shard at a time.

    `order_SN` is `None` where one chunk takes all: then the places stand as they came.
    """

    x_SND: Array
    target_SN: Array
    weight_SN: Array
    order_SN: Array | None
    size: int

    @classmethod
    def of(cls, x_BTD: Array, target_BT: Array, weight_BT: Array, tokens: int) -> "_Chunks":
        """At most `tokens` places of a shard in a chunk, and at least one."""
        shards = row_shards(x_BTD.shape[0])
        x_SND, target_SN, weight_SN = (
            part.reshape(shards, -1, *part.shape[2:]) for part in (x_BTD, target_BT, weight_BT)
        )
        N = target_SN.shape[1]
        size = chunk_size(N, tokens)
        if size == N:
            return cls(x_SND, target_SN, weight_SN, None, size)
        order_SN = jnp.argsort(weight_SN == 0, axis=1, stable=True)

        def sorted_and_filled(part: Array) -> Array:
            fill = [(0, 0), (0, -N % size)] + [(0, 0)] * (part.ndim - 2)
            return jnp.pad(_taken(part, order_SN), fill)

        x_SND, target_SN, weight_SN = map(sorted_and_filled, (x_SND, target_SN, weight_SN))
        return cls(x_SND, target_SN, weight_SN, order_SN, size)

    def __getitem__(self, index: Array) -> tuple[Array, Array, Array]:
        """The chunk's stream, targets and weights."""
        x, target, weight = (
            jax.lax.dynamic_slice_in_dim(part, index * self.size, self.size, axis=1)
            for part in (self.x_SND, self.target_SN, self.weight_SN)
        )
        return x, target, weight

    def put(self, whole: Array, part: Array, index: Array) -> Array:
        """`whole` with the chunk's places replaced by `part`."""
        return jax.lax.dynamic_update_slice_in_dim(whole, part, index * self.size, axis=1)

    def each(self, piece: Callable[[Array, Any], Any], carry: Any) -> Any:
        """`carry` after `piece` on every chunk in which something counts."""
        if self.order_SN is None:
            return piece(jnp.int32(0), carry)
        most = jnp.max(jnp.sum(self.weight_SN != 0, axis=1))
        return jax.lax.fori_loop(0, -(-most // self.size), piece, carry)

    def back(self, values: Array, shape: tuple[int, ...]) -> Array:
        """Values of the places, in `shape`, which begins with B and T."""
        if self.order_SN is not None:
            at_SN = jnp.argsort(self.order_SN, axis=1)
            values = jnp.take_along_axis(
                values, at_SN.reshape(*at_SN.shape, *[1] * (values.ndim - 2)), axis=1
            )
        return values.reshape(shape)


def _taken(part: Array, order_SN: Array) -> Array:
    """The places of `part` in another order; it may have axes beyond S and N."""
    return jnp.take_along_axis(part, order_SN.reshape(*order_SN.shape, *[1] * (part.ndim - 2)), axis=1)


def chunk_size(N: int, tokens: int) -> int:
    """How many of `N` places are a chunk when at most `tokens` may be: parts of about one size."""
    return -(-N // -(-N // max(tokens, 1)))


def _predictions(
    model: LanguageModel, tokens_BT: Array, segment_ids_BT: Array, loss_mask_BT: Array
) -> tuple[Array, Array, Array, Array]:
    """The stream, the table behind it, and for every place the next token and whether that one counts."""
    positions_BT = positions_of(segment_ids_BT)
    x_BTD, table_VD = model.embed(tokens_BT, positions_BT)
    x_BTD, _ = model.decode(x_BTD, positions_BT, segment_ids_BT)
    # The last place predicts nothing, but stays, as T has more divisors than T - 1.
    target_BT = jnp.pad(tokens_BT[:, 1:], ((0, 0), (0, 1)))
    return x_BTD, table_VD, target_BT, jnp.pad(loss_mask_BT[:, 1:], ((0, 0), (0, 1)))


def _soft_max(logits_SKV: Array, target_SK: Array) -> tuple[Array, Array, Array]:
    """Exponentials above the largest, their sums, and the targets' negative log-likelihoods."""
    largest_SK1, target_SK1 = jnp.max(logits_SKV, axis=-1, keepdims=True), _at(logits_SKV, target_SK)
    # All that reads the logits comes first: then the exponentials take their place in memory.
    logits_SKV, largest_SK1, target_SK1 = jax.lax.optimization_barrier((logits_SKV, largest_SK1, target_SK1))
    exp_SKV = jnp.exp(logits_SKV - largest_SK1)
    total_SK1 = jnp.sum(exp_SKV, axis=-1, keepdims=True)
    nll_SK1 = jnp.log(total_SK1) + largest_SK1 - target_SK1
    return exp_SKV, total_SK1, nll_SK1[..., 0]


def _at(values_SKV: Array, target_SK: Array) -> Array:
    """The targets' values, with a last axis of one."""
    if is_whole():
        return jnp.take_along_axis(values_SKV, target_SK[..., None], axis=-1)
    return jnp.sum(jnp.where(_is_target(target_SK, values_SKV), values_SKV, 0.0), axis=-1, keepdims=True)


def _add_at(values_SKV: Array, target_SK: Array, more_SK1: Array) -> Array:
    """The values with something added to the targets'."""
    if is_whole():
        S, K, _ = values_SKV.shape
        at_SK = jnp.arange(S)[:, None], jnp.arange(K)[None, :], target_SK
        return values_SKV.at[at_SK].add(more_SK1[..., 0])
    return values_SKV + jnp.where(_is_target(target_SK, values_SKV), more_SK1, 0.0)


def _is_target(target_SK: Array, values_SKV: Array) -> Array:
    """A comparison: for an index into a vocabulary that is split, XLA moves all logits between devices."""
    return jnp.arange(values_SKV.shape[-1])[None, None, :] == target_SK[..., None]
