"""Who sees whom, and the attention itself.

Order is the order of slots, not of positions. Segment 0 is padding. A padding query sees padding keys, itself
among them, so that no row is fully masked.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Finite, as minus infinity makes NaN of a fully masked row; not the least float, as the soft-max subtracts.
MASKED = -0.7 * float(jnp.finfo(jnp.float32).max)


def visible(
    segment_ids_BT: Int[Array, "B T"], *, window: Int[Array, ""] | int | None = None
) -> Bool[Array, "B T T"]:
    """True where a key has the query's segment and is not later; `window` counts the token itself."""
    slots_T = jnp.arange(segment_ids_BT.shape[1])
    back_1TS = slots_T[None, :, None] - slots_T[None, None, :]
    seen_BTS = (segment_ids_BT[:, :, None] == segment_ids_BT[:, None, :]) & (back_1TS >= 0)
    return seen_BTS if window is None else seen_BTS & (back_1TS < window)


def attend(
    q_BTNH: Float[Array, "B T N H"],
    k_BSKH: Float[Array, "B S K H"],
    v_BSKH: Float[Array, "B S K H"],
    visible_BTS: Bool[Array, "B T S"],
    *,
    scale: float,
    soft_cap: float | None = None,
) -> Float[Array, "B T N H"]:
    """Soft-max attention, each key head serving G = N/K query heads; logits and soft-max in float32.

    An einsum and not `jax.nn.dot_product_attention`: that has no soft cap, and on CPU is no faster.
    """
    B, T, N, H = q_BTNH.shape
    K = k_BSKH.shape[2]
    q_BTKGH = q_BTNH.reshape(B, T, K, N // K, H)
    y_BTKGH: Array = _attend(scale, soft_cap, q_BTKGH, k_BSKH, v_BSKH, visible_BTS)
    return y_BTKGH.reshape(B, T, N, H)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend(
    scale: float, soft_cap: float | None, q_BTKGH: Array, k_BSKH: Array, v_BSKH: Array, visible_BTS: Array
) -> Array:
    return _attend_fwd(scale, soft_cap, q_BTKGH, k_BSKH, v_BSKH, visible_BTS)[0]


def _attend_fwd(
    scale: float, soft_cap: float | None, q_BTKGH: Array, k_BSKH: Array, v_BSKH: Array, visible_BTS: Array
) -> tuple[Array, tuple[Array, ...]]:
    logits_BKGTS = _logits(scale, soft_cap, q_BTKGH, k_BSKH)
    logits_BKGTS = jnp.where(visible_BTS[:, None, None], logits_BKGTS, MASKED)
    weights_BKGTS = jax.nn.softmax(logits_BKGTS, axis=-1).astype(v_BSKH.dtype)
    y_BTKGH = jnp.einsum("bkgts,bskh->btkgh", weights_BKGTS, v_BSKH)
    return y_BTKGH, (q_BTKGH, k_BSKH, v_BSKH, weights_BKGTS, y_BTKGH)


def _attend_bwd(
    scale: float, soft_cap: float | None, saved: tuple[Array, ...], dy_BTKGH: Array
) -> tuple[Array, Array, Array, None]:
    """Gradients from the weights and the output alone (Dao et al. 2022, appendix B.2)."""
    q_BTKGH, k_BSKH, v_BSKH, weights_BKGTS, y_BTKGH = saved
    f32 = {"preferred_element_type": jnp.float32}
    dweights_BKGTS = jnp.einsum("btkgh,bskh->bkgts", dy_BTKGH, v_BSKH, **f32)
    mean_BTKG = jnp.einsum("btkgh,btkgh->btkg", dy_BTKGH, y_BTKGH, **f32)
    mean_BKGT1 = jnp.moveaxis(mean_BTKG, 1, -1)[..., None]
    dlogits_BKGTS = weights_BKGTS * (dweights_BKGTS - mean_BKGT1) * scale
    if soft_cap is not None:
        capped_BKGTS = _logits(scale, soft_cap, q_BTKGH, k_BSKH)
        dlogits_BKGTS *= 1 - jnp.square(capped_BKGTS / soft_cap)
    dlogits_BKGTS = dlogits_BKGTS.astype(q_BTKGH.dtype)
    return (
        jnp.einsum("bkgts,bskh->btkgh", dlogits_BKGTS, k_BSKH),
        jnp.einsum("bkgts,btkgh->bskh", dlogits_BKGTS, q_BTKGH),
        jnp.einsum("bkgts,btkgh->bskh", weights_BKGTS, dy_BTKGH),
        None,
    )


_attend.defvjp(_attend_fwd, _attend_bwd)


def _logits(scale: float, soft_cap: float | None, q_BTKGH: Array, k_BSKH: Array) -> Array:
    logits_BKGTS = jnp.einsum("btkgh,bskh->bkgts", q_BTKGH, k_BSKH, preferred_element_type=jnp.float32)
    logits_BKGTS *= scale
    return logits_BKGTS if soft_cap is None else jnp.tanh(logits_BKGTS / soft_cap) * soft_cap
