"""What layers keep of the tokens already seen, so that the next one costs one token's work.

Attention keeps keys and values. A row is left-padded, and its next token has the slot that its own length
says. A layer that sees a window keeps as many slots and no more; slot s lies at place s mod S of its S
places, over the slot that no token sees any longer. Heads come before places, as the products of one query a
head want them: in another order XLA copies all that is kept, for every token. A layer of another kind keeps
a tree of its own, whose size does not depend on the length of rows; every leaf has rows first.
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
        self, k_B1KH: Float[Array, "B 1 K H"], v_B1KH: Float[Array, "B 1 K H"], slot_B: Int[Array, " B"]
    ) -> "LayerCache":
        """The same with each row's slot number `slot_B` written."""
        place_B = slot_B % self.k_BKSH.shape[2]
        return LayerCache(_written(self.k_BKSH, k_B1KH, place_B), _written(self.v_BKSH, v_B1KH, place_B))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Cache:
    """What every layer keeps, each row's first slot behind its padding, and its slots written."""

    layers: tuple[Any, ...]
    first_B: Int[Array, " B"]
    length_B: Int[Array, " B"]

    def with_next(self, layers: tuple[Any, ...]) -> "Cache":
        """The same with one slot more, which `layers` hold already."""
        return replace(self, layers=layers, length_B=self.length_B + 1)


def fill(left: Sequence[Any], segment_ids_BT: Int[Array, "B T"], room: Room, windows: Sequence[int]) -> Cache:
    """The cache of left-padded rows, of what each layer left: keys and values, or what it keeps as it is."""

    def kept(left: Any, window: int) -> Any:
        if not isinstance(left, KeysValues):
            return left
        return LayerCache(*(_placed(part_BTKH, room, window) for part_BTKH in left))

    return Cache(
        tuple(kept(*layer) for layer in zip(left, windows, strict=True)),
        jnp.sum(segment_ids_BT == 0, axis=1),
        jnp.full(segment_ids_BT.shape[0], segment_ids_BT.shape[1]),
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
    """What one token a row reads, in slot number `cache.length_B`: what its layer kept of those before."""

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
        layer: LayerCache = self.kept.write(k_B1KH, v_B1KH, self.cache.length_B)
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
    """Which places hold a slot that the token in slot number `cache.length_B` sees."""
    back_BS = (cache.length_B[:, None] - jnp.arange(places)[None, :]) % places
    # Places not yet written would hold slots below zero.
    return cache.length_B[:, None] - back_BS >= cache.first_B[:, None]


def _written(
    x_BKSH: Float[Array, "B K S H"], one_B1KH: Float[Array, "B 1 K H"], place_B: Int[Array, " B"]
) -> Float[Array, "B K S H"]:
    """`x_BKSH` with one token of each row at its place."""

    def of_row(x_KSH: Array, one_K1H: Array, place: Array) -> Array:
        return jax.lax.dynamic_update_slice(x_KSH, one_K1H, (0, place, 0))

    return jax.vmap(of_row)(x_BKSH, jnp.swapaxes(one_B1KH, 1, 2).astype(x_BKSH.dtype), place_B)


def _placed(x_BTKH: Float[Array, "B T K H"], room: Room, window: int) -> Float[Array, "B K S H"]:
    """The last slots of the rows at their places."""
    T = x_BTKH.shape[1]
    S = min(window, room.length)
    x_BKTH = jnp.swapaxes(x_BTKH, 1, 2)
    if T <= S:
        return jnp.pad(x_BKTH, ((0, 0), (0, 0), (0, S - T), (0, 0)))
    return jnp.roll(x_BKTH[:, :, T - S :], T % S, axis=2)
