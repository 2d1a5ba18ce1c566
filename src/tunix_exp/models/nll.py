"""Negative log-likelihoods of targets behind a stream, and their gradients, a chunk of logits at a time.

S, N and K are the axes of `chunks`; R are words of the vocabulary, some at a
time, C groups of devices that have a copy of the parameters each.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import CustomVJPPrimal
from jaxtyping import Array, Bool, Float, Int

from tunix_exp.models.chunks import Chunks
from tunix_exp.models.layers.dense import tall_product
from tunix_exp.models.layers.embedding import Unembedding
from tunix_exp.models.loss_chunk import LossChunk
from tunix_exp.models.sharding import data_groups, each_in_its_group, is_whole
from tunix_exp.models.soft_max import is_target, soft_max


def token_nll(
    unembedding: Unembedding,
    chunk: LossChunk,
    table_VD: Float[Array, "V D"],
    x_BTD: Float[Array, "B T D"],
    target_BT: Int[Array, "B T"],
    counted_BT: Bool[Array, "B T"],
) -> Float[Array, "B T"]:
    """The negative log-likelihood (nats) of each target that counts, and 0 for the others."""
    chunks = Chunks.of(x_BTD, target_BT, counted_BT, chunk.tokens)

    def piece(index: Array, nll_SN: Array) -> Array:
        x_KD, target_K, counted_K = chunks[index]
        nll_K = soft_max(unembedding, x_KD, table_VD, target_K, unembedding.logits(x_KD, table_VD)).nll_K
        return chunks.put(nll_SN, jnp.where(counted_K, nll_K, 0.0), index)

    nll_SN = chunks.each(piece, jnp.zeros(chunks.target_SN.shape, jnp.float32))
    return chunks.back(nll_SN, counted_BT.shape)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def weighted_nll(
    unembedding: Unembedding,
    chunk: LossChunk,
    is_kept: bool,
    table_VD: Array,
    x_BTD: Array,
    target_BT: Array,
    weight_BT: Array,
) -> tuple[Array, tuple[Array, ...]]:
    """The sum of the targets' negative log-likelihoods, each times its weight; where `is_kept`, also each of
    those that weigh, [B, T], of which nothing is a function of the parameters.
    """
    nll_BT = token_nll(unembedding, chunk, table_VD, x_BTD, target_BT, weight_BT != 0)
    return jnp.sum(nll_BT * weight_BT), (nll_BT,) if is_kept else ()


def _weighted_fwd(
    unembedding: Unembedding,
    chunk: LossChunk,
    is_kept: bool,
    table: CustomVJPPrimal,
    x: CustomVJPPrimal,
    target: CustomVJPPrimal,
    weight: CustomVJPPrimal,
) -> tuple[tuple[Array, tuple[Array, ...]], tuple[Array | None, Array]]:
    """The sum and its gradients, in one pass: so no chunk's logits are computed a second time."""
    given = (part.value for part in (table, x, target, weight))
    total, each, gradients = _gradients(
        unembedding, chunk, *given, is_trained=table.perturbed, is_kept=is_kept
    )
    return (total, each), gradients


def _gradients(
    unembedding: Unembedding,
    chunk: LossChunk,
    table_VD: Array,
    x_BTD: Array,
    target_BT: Array,
    weight_BT: Array,
    *,
    is_trained: bool,
    is_kept: bool = False,
) -> tuple[Array, tuple[Array, ...], tuple[Array | None, Array]]:
    """The weighted sum of the negative log-likelihoods, each of them where `is_kept`, and the sum's gradients
    by table and stream.

    That of a frozen table is not among them: it is a third of the products, and as large as the table.
    """
    chunks = Chunks.of(x_BTD, target_BT, weight_BT, chunk.tokens)
    dtype = unembedding.compute_dtype
    # Each group of devices has a gradient of its own until all chunks are through: else one of the whole
    # table would be summed over the groups for each of them.
    groups = data_groups(x_BTD.shape[0]) if is_trained and chunks.order_SN is not None else 1

    def piece(index: Array, carry: tuple[Any, ...]) -> tuple[Any, ...]:
        total, dx_SND, kept, *dtable_VD = carry
        x_KD, target_K, weight_K = chunks[index]
        raw_KV = unembedding.product(x_KD, table_VD)
        soft = soft_max(unembedding, x_KD, table_VD, target_K, unembedding.capped(raw_KV))
        factor_K1 = weight_K[:, None] / soft.total_K1
        # By the score, so that a table is not updated before its targets' rows are read: XLA would copy it.
        at_target_K1 = jnp.exp(soft.score_K1 - soft.largest_K1) - soft.total_K1
        scaled_KD = (x_KD * factor_K1).astype(dtype)

        # weight/total times this is the gradient; where nothing stands between, it goes to the narrow side.
        def in_place(first: Array | int, rows: int, carry: tuple[Array, ...]) -> tuple[Array, ...]:
            """The rows' logits replaced by their gradient, and that of a trained table added to."""
            raw_KV, *dtable_VD = carry
            raw_KR = jax.lax.dynamic_slice_in_dim(raw_KV, first, rows, axis=1)
            logits_KR, uncapped = jax.vjp(unembedding.capped, raw_KR)
            at_KR = is_target(target_K - first, raw_KR)
            exp_KR = jnp.exp(logits_KR - soft.largest_K1)
            d_KR = uncapped(jnp.where(at_KR, at_target_K1, exp_KR))[0].astype(dtype)
            raw_KV = jax.lax.dynamic_update_slice_in_dim(raw_KV, d_KR.astype(raw_KV.dtype), first, axis=1)
            if not is_trained:
                return (raw_KV,)
            if groups > 1:
                return raw_KV, _with_each_group_s(dtable_VD[0], d_KR, scaled_KD)
            now_RD = jax.lax.dynamic_slice_in_dim(dtable_VD[0], first, rows, axis=0)
            now_RD = now_RD + tall_product(d_KR, scaled_KD).astype(now_RD.dtype)
            return raw_KV, jax.lax.dynamic_update_slice_in_dim(dtable_VD[0], now_RD, first, axis=0)

        # Where one chunk takes all, parts gain nothing: XLA writes the product down as the table's gradient.
        is_apart = chunks.order_SN is not None and is_whole()
        parts = table_VD.shape[0] // chunk.words if chunk.words is not None and is_apart else 1
        d_KV, *dtable_VD = _in_parts(in_place, (raw_KV, *dtable_VD), max(parts, 1))
        dx_KD = jnp.einsum("kv,vd->kd", d_KV.astype(dtype), table_VD.astype(dtype)) * factor_K1
        return (
            total + jnp.sum(soft.nll_K * weight_K),
            chunks.put(dx_SND, dx_KD.astype(dx_SND.dtype), index),
            tuple(chunks.put(nll_SN, jnp.where(weight_K != 0, soft.nll_K, 0.0), index) for nll_SN in kept),
            *dtable_VD,
        )

    of_table = (jnp.zeros_like(table_VD),) if is_trained else ()
    if groups > 1:
        of_table = (each_in_its_group(jnp.zeros((groups, *table_VD.shape), table_VD.dtype)),)
    kept = (jnp.zeros(chunks.target_SN.shape, jnp.float32),) if is_kept else ()
    zeros = jnp.float32(0), jnp.zeros_like(chunks.x_SND), kept, *of_table
    total, dx_SND, kept, *dtable_VD = chunks.each(piece, zeros)
    if groups > 1:
        dtable_VD = [jnp.sum(dtable_VD[0], axis=0)]
    each = tuple(chunks.back(nll_SN, target_BT.shape) for nll_SN in kept)
    return total, each, (dtable_VD[0] if is_trained else None, chunks.back(dx_SND, x_BTD.shape))


def _weighted_bwd(
    unembedding: Unembedding,
    chunk: LossChunk,
    is_kept: bool,
    gradients: tuple[Array | None, Array],
    cotangents: tuple[Array, tuple[Array, ...]],
) -> tuple[Array | None, Array, None, None]:
    of_total = cotangents[0]
    dtable_VD, dx_BTD = (None if d is None else d * of_total.astype(d.dtype) for d in gradients)
    return dtable_VD, dx_BTD, None, None  # pyright: ignore[reportReturnType]


weighted_nll.defvjp(_weighted_fwd, _weighted_bwd, symbolic_zeros=True)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def each_of_nll(
    unembedding: Unembedding,
    chunk: LossChunk,
    table_VD: Array,
    x_BTD: Array,
    target_BT: Array,
    counted_BT: Array,
) -> Array:
    """The negative log-likelihood of each target that counts."""
    return token_nll(unembedding, chunk, table_VD, x_BTD, target_BT, counted_BT)


def _each_fwd(
    unembedding: Unembedding,
    chunk: LossChunk,
    table: CustomVJPPrimal,
    x: CustomVJPPrimal,
    target: CustomVJPPrimal,
    counted: CustomVJPPrimal,
) -> tuple[Array, tuple[Any, ...]]:
    given = tuple(part.value for part in (table, x, target, counted))
    # A tuple with or without something in it: a truth value would be traced.
    trained = given[:1] if table.perturbed else ()
    return each_of_nll(unembedding, chunk, *given), (trained, *given)


def _each_bwd(
    unembedding: Unembedding, chunk: LossChunk, given: tuple[Any, ...], cotangent_BT: Array
) -> tuple[Array | None, Array, None, None]:
    trained, table_VD, x_BTD, target_BT, counted_BT = given
    weight_BT = jnp.where(counted_BT, cotangent_BT, 0.0)
    *_, (dtable_VD, dx_BTD) = _gradients(
        unembedding, chunk, table_VD, x_BTD, target_BT, weight_BT, is_trained=bool(trained)
    )
    return dtable_VD, dx_BTD, None, None


each_of_nll.defvjp(_each_fwd, _each_bwd, symbolic_zeros=True)


def _with_each_group_s(dtable_CVD: Array, d_KV: Array, scaled_KD: Array) -> Array:
    """The gradients of the groups of devices, each with its own tokens' added; the groups' come in turn."""
    d_CKV, scaled_CKD = (x.reshape(dtable_CVD.shape[0], -1, x.shape[-1]) for x in (d_KV, scaled_KD))
    added_CVD = jnp.einsum("ckv,ckd->cvd", d_CKV, scaled_CKD)
    return each_in_its_group(dtable_CVD + added_CVD.astype(dtable_CVD.dtype))


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
