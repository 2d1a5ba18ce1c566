"""The soft-max over the vocabulary of one chunk of places; K is an axis of `chunks`."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from tunix_exp.models.layers.embedding import Unembedding
from tunix_exp.models.sharding import is_whole


class SoftMax(NamedTuple):
    """The targets' negative log-likelihoods and logits, the largest logits, and all exponentials above these
    summed.
    """

    nll_K: Array
    score_K1: Array
    largest_K1: Array
    total_K1: Array


def soft_max(
    unembedding: Unembedding, x_KD: Array, table_VD: Array, target_K: Array, logits_KV: Array
) -> SoftMax:
    """The terms of a soft-max over the vocabulary, float32."""
    largest_K1 = jnp.max(logits_KV, axis=-1, keepdims=True)
    total_K1 = jnp.sum(jnp.exp(logits_KV - largest_K1), axis=-1, keepdims=True)
    score_K1 = _scores(unembedding, x_KD, table_VD, target_K, logits_KV)
    # At least zero, though a score may be summed in another order than its logit.
    nll_K1 = jnp.maximum(jnp.log(total_K1) + largest_K1 - score_K1, 0.0)
    return SoftMax(nll_K1[:, 0], score_K1, largest_K1, total_K1)


def _scores(
    unembedding: Unembedding, x_KD: Array, table_VD: Array, target_K: Array, logits_KV: Array
) -> Array:
    """The targets' logits [K, 1], where the vocabulary is whole by products of their own.

    Read from the logits by an index, they keep these beside what takes their place in memory; and for an
    index into a vocabulary that is split, XLA moves all logits between devices.
    """
    if not is_whole():
        return jnp.sum(jnp.where(is_target(target_K, logits_KV), logits_KV, 0.0), axis=-1, keepdims=True)
    pair = (part_KD.astype(unembedding.compute_dtype) for part_KD in (x_KD, table_VD[target_K]))
    x_KD, row_KD = (part_KD.astype(jnp.float32) for part_KD in pair)
    return unembedding.capped(jnp.sum(x_KD * row_KD, axis=-1, keepdims=True))


def is_target(target_K: Array, values_KV: Array) -> Array:
    """Which of the values [K, V] stand at the targets."""
    return jnp.arange(values_KV.shape[-1])[None, :] == target_K[..., None]
