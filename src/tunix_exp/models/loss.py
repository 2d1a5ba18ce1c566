"""Cross-entropy of a causal language model on the tokens that it is to learn.

Training and held-out evaluation both stand on these few lines.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int


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
) -> tuple[Float[Array, " B"], Int[Array, " B"]]:
    """The summed negative log-likelihood (nats) of each row's marked tokens, and how many there are.

    A token is marked in `loss_mask_BT` at its own place and predicted from the place before it.
    """
    x_BTD, _ = model.hidden(tokens_BT, positions_of(segment_ids_BT), segment_ids_BT)  # pyright: ignore
    logits_BTV = model.logits(x_BTD[:, :-1])  # pyright: ignore
    target_BT, counted_BT = tokens_BT[:, 1:], loss_mask_BT[:, 1:]
    picked_BT = jnp.take_along_axis(logits_BTV, target_BT[..., None], axis=-1)[..., 0]
    nll_BT = jax.nn.logsumexp(logits_BTV, axis=-1) - picked_BT
    return jnp.sum(jnp.where(counted_BT, nll_BT, 0.0), axis=1), jnp.sum(counted_BT, axis=1)
