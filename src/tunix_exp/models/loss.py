"""Cross-entropy of a causal language model on the tokens that it is to learn.

Training and held-out evaluation both stand on these few lines.
"""

import math
from typing import Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

# At most so many logits exist at a time, over all devices: 1 GiB of float32. Of Gemma's vocabulary that is
# 1024 tokens, over whose arithmetic the time to read the table, and to add to its gradient, is hidden.
CHUNK_LOGITS = 2**28


class _Unembedding(Protocol):
    vocab_size: int

    def logits(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T V"]: ...


def positions_of(segment_ids_BT: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """Positions that count from 0 at the first token of every segment."""
    index_T = jnp.arange(segment_ids_BT.shape[1])
    previous_BT = jnp.pad(segment_ids_BT[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
    start_BT = jnp.where(segment_ids_BT != previous_BT, index_T[None, :], 0)
    return index_T[None, :] - jax.lax.cummax(start_BT, axis=1)


def response_nll(
    model: nnx.Module,
    tokens_BT: Int[Array, "B T"],
    segment_ids_BT: Int[Array, "B T"],
    loss_mask_BT: Bool[Array, "B T"],
    *,
    chunk_logits: int = CHUNK_LOGITS,
) -> tuple[Float[Array, " B"], Int[Array, " B"]]:
    """The summed negative log-likelihood (nats) of each row's marked tokens, and how many there are.

    A token is marked in `loss_mask_BT` at its own place and predicted from the place before it. No more
    than `chunk_logits` logits exist at a time, in the backward pass neither.
    """
    x_BTD, _ = model.hidden(tokens_BT, positions_of(segment_ids_BT), segment_ids_BT)  # pyright: ignore
    # The last place predicts nothing, but stays, as T has more divisors than T - 1.
    target_BT = jnp.pad(tokens_BT[:, 1:], ((0, 0), (0, 1)))
    counted_BT = jnp.pad(loss_mask_BT[:, 1:], ((0, 0), (0, 1)))
    nll_BT = token_nll(model, x_BTD, target_BT, chunk_logits=chunk_logits)  # pyright: ignore
    return jnp.sum(jnp.where(counted_BT, nll_BT, 0.0), axis=1), jnp.sum(counted_BT, axis=1)


def token_nll(
    model: _Unembedding, x_BTD: Float[Array, "B T D"], target_BT: Int[Array, "B T"], *, chunk_logits: int
) -> Float[Array, "B T"]:
    """The negative log-likelihood (nats) of each target, from at most `chunk_logits` logits at a time.

    What fits one chunk is computed as it stands, which takes a third less time than in chunks. Else a scan
    goes over pieces of every row, so that the rows stay where they are when they are sharded over devices,
    and the backward pass computes each piece's logits a second time. Over devices this wants the table split
    by the vocabulary alone: where its width is split, each piece's logits are summed across the devices.
    """
    T = x_BTD.shape[1]
    chunks = num_chunks(x_BTD.shape[0], T, model.vocab_size, chunk_logits)
    if chunks == 1:
        return _nll(model, x_BTD, target_BT)

    def split(array_BT: Array) -> Array:
        padded = jnp.pad(array_BT, [(0, 0), (0, -T % chunks)] + [(0, 0)] * (array_BT.ndim - 2))
        pieces = padded.reshape(padded.shape[0], chunks, -1, *padded.shape[2:])
        return jnp.moveaxis(pieces, 1, 0)

    piece_nll = jax.checkpoint(lambda piece: _nll(model, *piece), prevent_cse=False)
    nll_CBT = jax.lax.map(piece_nll, (split(x_BTD), split(target_BT)))
    return jnp.moveaxis(nll_CBT, 0, 1).reshape(x_BTD.shape[0], -1)[:, :T]


def num_chunks(B: int, T: int, V: int, chunk_logits: int) -> int:
    """The least power of two by which `chunk_logits` is kept, or T where even one token a row exceeds it."""
    needed = math.ceil(B * T * V / chunk_logits)
    return min(1 << (needed - 1).bit_length(), T)


def _nll(
    model: _Unembedding, x_BTD: Float[Array, "B T D"], target_BT: Int[Array, "B T"]
) -> Float[Array, "B T"]:
    logits_BTV = model.logits(x_BTD)
    # A comparison and not a gather, whose gradient is a scatter: where the vocabulary is sharded, XLA moves
    # the whole chunk of logits between devices for that.
    is_target_BTV = jnp.arange(logits_BTV.shape[-1])[None, None, :] == target_BT[:, :, None]
    picked_BT = jnp.where(is_target_BTV, logits_BTV, 0.0).sum(axis=-1)
    return jax.nn.logsumexp(logits_BTV, axis=-1) - picked_BT
