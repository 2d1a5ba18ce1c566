"""What layers keep of the tokens already seen, so that the next one costs one token's work.

Attention keeps keys and values. A slot is a column of left-padded rows: all rows write the same one. A layer
that sees a window keeps as many slots and no more; slot s lies at place s mod S of its S places, over the
slot that no token sees any longer. Heads come before places, as the products of one query a head want them:
in another order XLA copies all that is kept, for every token. A layer of another kind keeps a tree of its
own, whose size does not depend on the length of rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tunix_exp.models.layers.attention import MASKED


@jax.tree_util.register_static
@dataclass(frozen=True)
class Room:
    """Asks for a cache of `length` slots to be made of the tokens at hand."""

    length: int


class KeysValues(NamedTuple):
    """Those of whole rows, of which a layer's cache is made."""

    k_BTKH: Float[Array, "B T K H"]
    v_BTKH: Float[Array, "B T K H"]


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
    """What every layer keeps, each row's first slot behind its padding, and the slots written."""

    layers: tuple[Any, ...]
    first_B: Int[Array, " B"]
    length: Int[Array, ""]

    def with_next(self, layers: tuple[Any, ...]) -> "Cache":
        """The same with one slot more, which `layers` hold already."""
        return replace(self, layers=layers, length=self.length + 1)


def fill(left: Sequence[Any], segment_ids_BT: Int[Array, "B T"], room: Room, windows: Sequence[int]) -> Cache:
    """The cache of left-padded rows, of what each layer left: keys and values, or what it keeps as it is."""

    def kept(left: Any, window: int) -> Any:
        if not isinstance(left, KeysValues):
            return left
        return LayerCache(*(_placed(part_BTKH, room, window) for part_BTKH in left))

    return Cache(
        tuple(kept(*layer) for layer in zip(left, windows, strict=True)),
        jnp.sum(segment_ids_BT == 0, axis=1),
        jnp.asarray(segment_ids_BT.shape[1]),
    )


@dataclass(frozen=True)
class Rows:
    """What the tokens of whole rows read of each other: those before them in their segment."""

    segment_ids_BT: Int[Array, "B T"]
    attention: Callable[..., Array]  # of whole rows
    keeps: bool  # a cache is to be made of what a block leaves

    def attend(
        self,
        q_BTNH: Float[Array, "B T N H"],
        k_BTKH: Float[Array, "B T K H"],
        v_BTKH: Float[Array, "B T K H"],
        **traits: Any,
    ) -> tuple[Float[Array, "B T N H"], KeysValues | None]:
        """What the queries gather, and what a cache is made of."""
        y_BTNH = self.attention(q_BTNH, k_BTKH, v_BTKH, **traits)
        return y_BTNH, KeysValues(k_BTKH, v_BTKH) if self.keeps else None


@dataclass(frozen=True)
class Next:
    """What one token a row reads, in slot number `cache.length`: what its layer kept of those before."""

    kept: Any
    cache: Cache

    def attend(
        self,
        q_B1NH: Float[Array, "B 1 N H"],
        k_B1KH: Float[Array, "B 1 K H"],
        v_B1KH: Float[Array, "B 1 K H"],
        *,
        scale: float,
        soft_cap: float | None = None,
    ) -> tuple[Float[Array, "B 1 N H"], LayerCache]:
        """What the query gathers, and what the layer kept with the token written."""
        layer: LayerCache = self.kept.write(k_B1KH, v_B1KH, self.cache.length)
        B, _, N, H = q_B1NH.shape
        K, S = layer.k_BKSH.shape[1:3]
        q_BKGH = q_B1NH.reshape(B, K, N // K, H)
        # Written as products, as for an einsum XLA swaps the factors and copies the larger one.
        logits_BKGS = jax.lax.dot_general(
            q_BKGH, layer.k_BKSH, (((3,), (3,)), ((0, 1), (0, 1))), preferred_element_type=jnp.float32
        )
        logits_BKGS *= scale
        if soft_cap is not None:
            logits_BKGS = jnp.tanh(logits_BKGS / soft_cap) * soft_cap
        logits_BKGS = jnp.where(_seen(self.cache, S)[:, None, None], logits_BKGS, MASKED)
        weights_BKGS = jax.nn.softmax(logits_BKGS, axis=-1).astype(layer.v_BKSH.dtype)
        y_BKGH = jax.lax.dot_general(weights_BKGS, layer.v_BKSH, (((3,), (2,)), ((0, 1), (0, 1))))
        return y_BKGH.reshape(B, 1, N, H), layer


# What a block reads of other tokens.
Past = Rows | Next


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
