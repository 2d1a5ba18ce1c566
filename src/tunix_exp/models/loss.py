"""Cross-entropy of a causal language model on the tokens that it is to learn.

Training and held-out evaluation both stand on these few lines. Two more axis letters: S shards of rows, and
N tokens of a shard, those that count first. K of them are a chunk.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import CustomVJPPrimal
from jaxtyping import Array, Bool, Float, Int

from tunix_exp.models.architecture import LanguageModel
from tunix_exp.models.layers.dense import tall_product
from tunix_exp.models.layers.embedding import Unembedding
from tunix_exp.models.sharding import is_whole, row_shards

# At most so many logits exist at a time for each shard of rows: 128 MiB of float32. Of 256,000 words
# that is 131 tokens, over whose arithmetic the time to read the table, and to add to its gradient, is hidden.
CHUNK_LOGITS = 2**25
# Of those, that many words' become gradients at a time.
_WORDS_AT_ONCE = 2**12


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
        x_KD, target_K, counted_K = chunks[index]
        nll_K = _soft_max(unembedding, x_KD, table_VD, target_K, unembedding.logits(x_KD, table_VD)).nll_K
        return chunks.put(nll_SN, jnp.where(counted_K, nll_K, 0.0), index)

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
        x_KD, target_K, counted_K = chunks[index]
        logits_KV = model.unembedding.logits(x_KD, table_VD)
        nll_K = _soft_max(model.unembedding, x_KD, table_VD, target_K, logits_KV).nll_K
        nll_K = jnp.where(counted_K, nll_K, 0.0)
        is_best_K = (first_best(logits_KV) == target_K) | ~counted_K
        return chunks.put(nll_SN, nll_K, index), chunks.put(is_best_SN, is_best_K, index)

    shape = chunks.target_SN.shape
    start = jnp.zeros(shape, jnp.float32), jnp.ones(shape, bool)
    nll_BT, is_best_BT = (chunks.back(part, target_BT.shape) for part in chunks.each(piece, start))
    return jnp.sum(nll_BT, axis=1), jnp.all(is_best_BT, axis=1)


def first_best(logits: Float[Array, "... V"]) -> Int[Array, "..."]:
    """The first of the largest, as `argmax` says it, which takes XLA four times as long on a CPU.

    It is V, which is no token, where the largest is not finite: then the logits say nothing.
    """
    V = logits.shape[-1]
    largest = logits.max(axis=-1, keepdims=True)
    is_best = logits == jnp.where(jnp.isfinite(largest), largest, jnp.nan)
    index = jnp.arange(V, dtype=jnp.int32).reshape((1,) * (logits.ndim - 1) + (V,))
    return jnp.where(is_best, index, V).min(axis=-1)


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
    table: CustomVJPPrimal,
    x: CustomVJPPrimal,
    target: CustomVJPPrimal,
    weight: CustomVJPPrimal,
) -> tuple[Array, tuple[Array | None, Array]]:
    """The sum and its gradients, in one pass: so no chunk's logits are computed a second time.

    That of a frozen table is not among them: it is a third of the products, and as large as the table.
    """
    table_VD, x_BTD, target_BT, weight_BT = (part.value for part in (table, x, target, weight))
    is_trained: bool = table.perturbed
    chunks = _Chunks.of(x_BTD, target_BT, weight_BT, chunk_logits // table_VD.shape[0])
    dtype = unembedding.compute_dtype

    def piece(index: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        total, dx_SND, *dtable_VD = carry
        x_KD, target_K, weight_K = chunks[index]
        raw_KV = unembedding.product(x_KD, table_VD)
        soft_max = _soft_max(unembedding, x_KD, table_VD, target_K, unembedding.capped(raw_KV))
        factor_K1 = weight_K[:, None] / soft_max.total_K1
        # By the score, so that a table is not updated before its targets' rows are read: XLA would copy it.
        at_target_K1 = jnp.exp(soft_max.score_K1 - soft_max.largest_K1) - soft_max.total_K1
        scaled_KD = (x_KD * factor_K1).astype(dtype)

        # weight/total times this is the gradient; where nothing stands between, it goes to the narrow side.
        def in_place(first: Array | int, rows: int, carry: tuple[Array, ...]) -> tuple[Array, ...]:
            """The rows' logits replaced by their gradient, and that of a trained table added to."""
            raw_KV, *dtable_VD = carry
            raw_KR = jax.lax.dynamic_slice_in_dim(raw_KV, first, rows, axis=1)
            logits_KR, uncapped = jax.vjp(unembedding.capped, raw_KR)
            is_target_KR = _is_target(target_K - first, raw_KR)
            exp_KR = jnp.exp(logits_KR - soft_max.largest_K1)
            d_KR = uncapped(jnp.where(is_target_KR, at_target_K1, exp_KR))[0].astype(dtype)
            raw_KV = jax.lax.dynamic_update_slice_in_dim(raw_KV, d_KR.astype(raw_KV.dtype), first, axis=1)
            if not is_trained:
                return (raw_KV,)
            now_RD = jax.lax.dynamic_slice_in_dim(dtable_VD[0], first, rows, axis=0)
            now_RD = now_RD + tall_product(d_KR, scaled_KD).astype(now_RD.dtype)
            return raw_KV, jax.lax.dynamic_update_slice_in_dim(dtable_VD[0], now_RD, first, axis=0)

        # Where one chunk takes all, parts gain nothing: XLA writes the product down as the table's gradient.
        parts = table_VD.shape[0] // _WORDS_AT_ONCE if chunks.order_SN is not None and is_whole() else 1
        d_KV, *dtable_VD = _in_parts(in_place, (raw_KV, *dtable_VD), max(parts, 1))
        dx_KD = jnp.einsum("kv,vd->kd", d_KV.astype(dtype), table_VD.astype(dtype)) * factor_K1
        return (
            total + jnp.sum(soft_max.nll_K * weight_K),
            chunks.put(dx_SND, dx_KD.astype(dx_SND.dtype), index),
            *dtable_VD,
        )

    of_table = (jnp.zeros_like(table_VD),) if is_trained else ()
    zeros = jnp.float32(0), jnp.zeros_like(chunks.x_SND), *of_table
    total, dx_SND, *dtable_VD = chunks.each(piece, zeros)
    return total, (dtable_VD[0] if is_trained else None, chunks.back(dx_SND, x_BTD.shape))


def _weighted_bwd(
    unembedding: Unembedding, chunk_logits: int, gradients: tuple[Array | None, Array], cotangent: Array
) -> tuple[Array | None, Array, None, None]:
    dtable_VD, dx_BTD = (None if d is None else d * cotangent.astype(d.dtype) for d in gradients)
    return dtable_VD, dx_BTD, None, None  # pyright: ignore[reportReturnType]


_weighted.defvjp(_weighted_fwd, _weighted_bwd, symbolic_zeros=True)


def _in_parts(
    part: Callable[[Array | int, int, tuple[Array, ...]], tuple[Array, ...]],
    carry: tuple[Array, ...],
    parts: int,
) -> tuple[Array, ...]:
    """`carry`, logits [K, V] first, after `part(first, rows, carry)` on all words, some after others."""
    V = carry[0].shape[1]
    rows, left = V // parts, V % parts
    if parts == 1:
        return part(0, V, carry)
    carry = jax.lax.fori_loop(0, parts, lambda i, carry: part(i * rows, rows, carry), carry)
    return part(V - left, left, carry) if left else carry


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
        """The chunk's stream, targets and weights, of all shards in a row."""
        x_KD, target_K, weight_K = (
            jax.lax.dynamic_slice_in_dim(part, index * self.size, self.size, axis=1).reshape(
                -1, *part.shape[2:]
            )
            for part in (self.x_SND, self.target_SN, self.weight_SN)
        )
        return x_KD, target_K, weight_K

    def put(self, whole_SN: Array, part_K: Array, index: Array) -> Array:
        """`whole_SN` with the chunk's places replaced by `part_K`; both may have one more axis."""
        part_SK = part_K.reshape(whole_SN.shape[0], self.size, *whole_SN.shape[2:])
        return jax.lax.dynamic_update_slice_in_dim(whole_SN, part_SK, index * self.size, axis=1)

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


class _SoftMax(NamedTuple):
    """The targets' negative log-likelihoods and logits, the largest logits, and all exponentials above these
    summed.
    """

    nll_K: Array
    score_K1: Array
    largest_K1: Array
    total_K1: Array


def _soft_max(
    unembedding: Unembedding, x_KD: Array, table_VD: Array, target_K: Array, logits_KV: Array
) -> _SoftMax:
    largest_K1 = jnp.max(logits_KV, axis=-1, keepdims=True)
    total_K1 = jnp.sum(jnp.exp(logits_KV - largest_K1), axis=-1, keepdims=True)
    score_K1 = _scores(unembedding, x_KD, table_VD, target_K, logits_KV)
    # At least zero, though a score may be summed in another order than its logit.
    nll_K1 = jnp.maximum(jnp.log(total_K1) + largest_K1 - score_K1, 0.0)
    return _SoftMax(nll_K1[:, 0], score_K1, largest_K1, total_K1)


def _scores(
    unembedding: Unembedding, x_KD: Array, table_VD: Array, target_K: Array, logits_KV: Array
) -> Array:
    """The targets' logits [K, 1], where the vocabulary is whole by products of their own.

    Read from the logits by an index, they keep these beside what takes their place in memory; and for an
    index into a vocabulary that is split, XLA moves all logits between devices.
    """
    if not is_whole():
        return jnp.sum(jnp.where(_is_target(target_K, logits_KV), logits_KV, 0.0), axis=-1, keepdims=True)
    pair = (part_KD.astype(unembedding.compute_dtype) for part_KD in (x_KD, table_VD[target_K]))
    x_KD, row_KD = (part_KD.astype(jnp.float32) for part_KD in pair)
    return unembedding.capped(jnp.sum(x_KD * row_KD, axis=-1, keepdims=True))


def _is_target(target_K: Array, values_KV: Array) -> Array:
    return jnp.arange(values_KV.shape[-1])[None, :] == target_K[..., None]
