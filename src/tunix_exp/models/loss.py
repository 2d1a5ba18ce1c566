"""Cross-entropy of a causal language model on the tokens that it is to learn.

Training and held-out evaluation both stand on these few lines; the logits are made `model.loss_chunk` at a
time. S, N and K are the axes of `chunks`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tunix_exp.models.architecture import LanguageModel
from tunix_exp.models.chunks import Chunks
from tunix_exp.models.nll import each_of_nll, token_nll, weighted_nll
from tunix_exp.models.soft_max import soft_max


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
) -> tuple[Float[Array, " B"], Int[Array, " B"]]:
    """The summed negative log-likelihood (nats) of each row's marked tokens, and how many there are.

    A token is marked in `loss_mask_BT` at its own place and predicted from the place before it. Not to be
    differentiated: `summed_nll` is.
    """
    x_BTD, table_VD, target_BT, counted_BT = _predictions(model, tokens_BT, segment_ids_BT, loss_mask_BT)
    nll_BT = token_nll(model.unembedding, model.loss_chunk, table_VD, x_BTD, target_BT, counted_BT)
    return jnp.sum(nll_BT, axis=1), jnp.sum(counted_BT, axis=1)


def summed_nll(
    model: LanguageModel,
    tokens_BT: Int[Array, "B T"],
    segment_ids_BT: Int[Array, "B T"],
    loss_mask_BT: Bool[Array, "B T"],
    scale: Float[Array, ""] | float = 1.0,
) -> Float[Array, ""]:
    """The negative log-likelihood (nats) of all marked tokens times `scale`, to be differentiated."""
    x_BTD, table_VD, target_BT, counted_BT = _predictions(model, tokens_BT, segment_ids_BT, loss_mask_BT)
    weight_BT = counted_BT * jnp.float32(scale)
    found: Any = weighted_nll(
        model.unembedding, model.loss_chunk, False, table_VD, x_BTD, target_BT, weight_BT
    )
    return found[0]


def summed_and_rows_nll(
    model: LanguageModel,
    tokens_BT: Int[Array, "B T"],
    segment_ids_BT: Int[Array, "B T"],
    loss_mask_BT: Bool[Array, "B T"],
    scale: Float[Array, ""] | float = 1.0,
) -> tuple[Float[Array, ""], Float[Array, " B"]]:
    """As `summed_nll`, and unscaled the negative log-likelihood (nats) of each row's marked tokens.

    Only the first is to be differentiated. Both come of one pass over the logits.
    """
    x_BTD, table_VD, target_BT, counted_BT = _predictions(model, tokens_BT, segment_ids_BT, loss_mask_BT)
    weight_BT = counted_BT * jnp.float32(scale)
    found: Any = weighted_nll(
        model.unembedding, model.loss_chunk, True, table_VD, x_BTD, target_BT, weight_BT
    )
    total, (nll_BT,) = found
    return total, jnp.sum(jax.lax.stop_gradient(nll_BT), axis=1)


def each_nll(
    model: LanguageModel,
    tokens_BT: Int[Array, "B T"],
    segment_ids_BT: Int[Array, "B T"],
    loss_mask_BT: Bool[Array, "B T"],
) -> Float[Array, "B T"]:
    """The negative log-likelihood (nats) of every marked token at its own place and 0 elsewhere.

    To be differentiated, for losses that are no weighted sum of it; for that the logits are computed again.
    """
    x_BTD, table_VD, target_BT, counted_BT = _predictions(model, tokens_BT, segment_ids_BT, loss_mask_BT)
    nll_BT: Array = each_of_nll(model.unembedding, model.loss_chunk, table_VD, x_BTD, target_BT, counted_BT)
    return jnp.pad(nll_BT[:, :-1], ((0, 0), (1, 0)))


def count(loss_mask_BT: Bool[Array, "B T"]) -> Int[Array, ""]:
    """How many marked tokens have a token before them."""
    return jnp.sum(loss_mask_BT[:, 1:])


def continuation_scores(
    model: LanguageModel,
    tokens_BT: Int[Array, "B T"],
    segment_ids_BT: Int[Array, "B T"],
    target_BT: Int[Array, "B T"],
    counted_BT: Bool[Array, "B T"],
) -> tuple[Float[Array, " B"], Bool[Array, " B"]]:
    """The summed negative log-likelihood (nats) of each row's counted targets, and whether each of them is
    the first of the best.

    The target of a place is the token after it, so that a row may end with the model's last position.
    """
    positions_BT = positions_of(segment_ids_BT)
    x_BTD, table_VD = model.embed(tokens_BT, positions_BT)
    x_BTD, _ = model.decode(x_BTD, positions_BT, segment_ids_BT)
    chunks = Chunks.of(x_BTD, target_BT, counted_BT, model.loss_chunk.tokens)

    def piece(index: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        nll_SN, is_best_SN = carry
        x_KD, target_K, counted_K = chunks[index]
        logits_KV = model.unembedding.logits(x_KD, table_VD)
        nll_K = soft_max(model.unembedding, x_KD, table_VD, target_K, logits_KV).nll_K
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
