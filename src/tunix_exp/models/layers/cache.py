"""Keys and values of the tokens already seen, so that the next one costs one token's work.

A slot is a column of left-padded rows: all rows write the same one. A layer that sees a window keeps as
many slots and no more; slot s lies at place s mod S of its S places, over the slot that no token sees any
longer. Heads come before places, as the products of one query a head want them: in another order XLA copies
all that is kept, for every token.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tunix_exp.models.layers.attention import MASKED

# Queries, keys and values, scale and soft cap in; what the queries gather, and what is left for a cache.
Attend = Callable[..., tuple[Array, Any]]


@jax.tree_util.register_static
@dataclass(frozen=True)
class Room:
    """Asks for a cache of `length` slots to be made of the tokens at hand."""

    length: int


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LayerCache:
    """One layer's keys and values."""

    k_BKSH: Float[Array, "B K S H"]
    v_BKSH: Float[Array, "B K S H"]

    def write(
        self, k_B1KH: Float[Array, "B 1 K H"], v_B1KH: Float[Array, "B 1 K H"], slot: Int[Array, ""]
    ) -> "LayerCache":
        """The same with slot number `slot` written."""
        start = (0, 0, slot % self.k_BKSH.shape[2], 0)
        k_BK1H, v_BK1H = jnp.swapaxes(k_B1KH, 1, 2), jnp.swapaxes(v_B1KH, 1, 2)
        return LayerCache(
            jax.lax.dynamic_update_slice(self.k_BKSH, k_BK1H.astype(self.k_BKSH.dtype), start),
            jax.lax.dynamic_update_slice(self.v_BKSH, v_BK1H.astype(self.v_BKSH.dtype), start),
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Cache:
    """The keys and values of every layer, each row's first slot behind its padding, and the slots written."""

    layers: tuple[LayerCache, ...]
    first_B: Int[Array, " B"]
    length: Int[Array, ""]

    def with_next(self, layers: tuple[LayerCache, ...]) -> "Cache":
        """The same with one slot more, which `layers` hold already."""
        return replace(self, layers=layers, length=self.length + 1)


def fill(
    keys_and_values: Sequence[tuple[Array, Array]],
    segment_ids_BT: Int[Array, "B T"],
    room: Room,
    windows: Sequence[int],
) -> Cache:
    """The cache of left-padded rows, of the keys and values [B, T, K, H] that each layer left."""
    return Cache(
        tuple(
            LayerCache(_placed(k_BTKH, room, window), _placed(v_BTKH, room, window))
            for (k_BTKH, v_BTKH), window in zip(keys_and_values, windows, strict=True)
        ),
        jnp.sum(segment_ids_BT == 0, axis=1),
        jnp.asarray(segment_ids_BT.shape[1]),
    )


def attend_whole(
    q_BTNH: Float[Array, "B T N H"],
    k_BTKH: Float[Array, "B T K H"],
    v_BTKH: Float[Array, "B T K H"],
    *,
    attend: Callable[..., Array],
    keeps: bool,
    **traits: Any,
) -> tuple[Float[Array, "B T N H"], tuple[Array, Array] | None]:
    """What `attend` gives, and the keys and values where a cache is to be made of them."""
    return attend(q_BTNH, k_BTKH, v_BTKH, **traits), (k_BTKH, v_BTKH) if keeps else None


def attend_next(
    q_B1NH: Float[Array, "B 1 N H"],
    k_B1KH: Float[Array, "B 1 K H"],
    v_B1KH: Float[Array, "B 1 K H"],
    *,
    layer: LayerCache,
    cache: Cache,
    scale: float,
    soft_cap: float | None = None,
) -> tuple[Float[Array, "B 1 N H"], LayerCache]:
    """What `attend` gives for the token in slot number `cache.length`, and the layer with it written."""
    layer = layer.write(k_B1KH, v_B1KH, cache.length)
    B, _, N, H = q_B1NH.shape
    K, S = layer.k_BKSH.shape[1:3]
    q_BKGH = q_B1NH.reshape(B, K, N // K, H)
    # Spelled as the products that they are: for an einsum XLA swaps the factors and copies the larger one.
    logits_BKGS = jax.lax.dot_general(
        q_BKGH, layer.k_BKSH, (((3,), (3,)), ((0, 1), (0, 1))), preferred_element_type=jnp.float32
    )
    logits_BKGS *= scale
    if soft_cap is not None:
        logits_BKGS = jnp.tanh(logits_BKGS / soft_cap) * soft_cap
    logits_BKGS = jnp.where(_seen(cache, S)[:, None, None], logits_BKGS, MASKED)
    weights_BKGS = jax.nn.softmax(logits_BKGS, axis=-1).astype(layer.v_BKSH.dtype)
    y_BKGH = jax.lax.dot_general(weights_BKGS, layer.v_BKSH, (((3,), (2,)), ((0, 1), (0, 1))))
    return y_BKGH.reshape(B, 1, N, H), layer


def _seen(cache: Cache, places: int) -> Bool[Array, "B S"]:
    """Which places hold a slot that the token in slot number `cache.length` sees."""
    back_S = (cache.length - jnp.arange(places)) % places
    # Places not yet written would hold slots below zero.
    return (cache.length - back_S)[None, :] >= cache.first_B[:, None]


def _placed(x_BTKH: Float[Array, "B T K H"], room: Room, window: int) -> Float[Array, "B K S H"]:
    """The last slots of the rows at their places."""
    T = x_BTKH.shape[1]
    S = min(window, room.length)
    x_BKTH = jnp.swapaxes(x_BTKH, 1, 2)
    if T <= S:
        return jnp.pad(x_BKTH, ((0, 0), (0, 0), (0, S - T), (0, 0)))
    return jnp.roll(x_BKTH[:, :, T - S :], T % S, axis=2)
