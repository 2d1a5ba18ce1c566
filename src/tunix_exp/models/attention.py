"""Who sees whom, the attention itself, and the cache of keys and values.

Order is the order of slots, not of positions: left-padded rows keep their slots aligned, so a decoding
step writes one slot for all rows. Segment 0 is padding. A padding query sees padding keys, itself among
them, so that no row is fully masked.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PyTree

# Finite, as minus infinity makes NaN of a fully masked row; not the least float, as the soft-max subtracts.
MASKED = -0.7 * float(jnp.finfo(jnp.float32).max)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LayerCache:
    """One layer's keys and values (with a leading L where the layers are stacked)."""

    k_BSKH: Array
    v_BSKH: Array

    def write(
        self, k_BTKH: Float[Array, "B T K H"], v_BTKH: Float[Array, "B T K H"], slot: Int[Array, ""]
    ) -> "LayerCache":
        """Slots `slot` … `slot + T - 1` replaced, the others kept."""
        start = (0, slot, 0, 0)
        return LayerCache(
            jax.lax.dynamic_update_slice(self.k_BSKH, k_BTKH.astype(self.k_BSKH.dtype), start),
            jax.lax.dynamic_update_slice(self.v_BSKH, v_BTKH.astype(self.v_BSKH.dtype), start),
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Cache:
    """Keys and values of all layers, the segment of every slot, and the number of slots written."""

    layers: PyTree[Array]
    segment_ids_BS: Int[Array, "B S"]
    length: Int[Array, ""]

    def advance(self, segment_ids_BT: Int[Array, "B T"]) -> "Cache":
        """The next T slots given their segments and counted as written."""
        return Cache(
            self.layers,
            jax.lax.dynamic_update_slice(self.segment_ids_BS, segment_ids_BT, (0, self.length)),
            self.length + segment_ids_BT.shape[1],
        )


def empty_cache(
    *,
    batch: int,
    length: int,
    num_layers: int,
    key_heads: int,
    head_width: int,
    stacked: bool,
    dtype: DTypeLike,
) -> Cache:
    """A cache of `length` slots, none of them written."""

    def layer(*lead: int) -> LayerCache:
        shape = (*lead, batch, length, key_heads, head_width)
        return LayerCache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))

    layers = layer(num_layers) if stacked else tuple(layer() for _ in range(num_layers))
    return Cache(layers, jnp.zeros((batch, length), jnp.int32), jnp.zeros((), jnp.int32))


def visible(
    query_segments_BT: Int[Array, "B T"],
    key_segments_BS: Int[Array, "B S"],
    first_slot: Int[Array, ""] | int = 0,
    *,
    window: Int[Array, ""] | int | None = None,
) -> Bool[Array, "B T S"]:
    """True where a key has the query's segment and is not later; `window` counts the token itself.

    Query t stands in slot `first_slot + t`, key s in slot s.
    """
    same_BTS = query_segments_BT[:, :, None] == key_segments_BS[:, None, :]
    query_slots_1T1 = (first_slot + jnp.arange(query_segments_BT.shape[1]))[None, :, None]
    key_slots_11S = jnp.arange(key_segments_BS.shape[1])[None, None, :]
    seen_BTS = same_BTS & (key_slots_11S <= query_slots_1T1)
    if window is not None:
        seen_BTS &= query_slots_1T1 - key_slots_11S < window
    return seen_BTS


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
