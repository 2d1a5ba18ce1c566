"""The places of a batch in chunks, so that only so many logits exist at a time.

Two more axis letters: S shards of rows, and N tokens of a shard, those that count first. K of them are a
chunk.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from tunix_exp.models.sharding import row_shards


@dataclass(frozen=True)
class Chunks:
    """Places of all rows, those that count before the others, to be gone through K of a shard at a time.

    `order_SN` is `None` where one chunk takes all: then the places stand as they came.
    """

    x_SND: Array
    target_SN: Array
    weight_SN: Array
    order_SN: Array | None
    size: int

    @classmethod
    def of(cls, x_BTD: Array, target_BT: Array, weight_BT: Array, tokens: int) -> "Chunks":
        """At most `tokens` places of a shard in a chunk, and at least one."""
        shards = row_shards(x_BTD.shape[0])
        x_SND, target_SN, weight_SN = (
            part.reshape(shards, -1, *part.shape[2:]) for part in (x_BTD, target_BT, weight_BT)
        )
        N = target_SN.shape[1]
        size = chunk_size(N, tokens)
        if size == N:
            return cls(x_SND, target_SN, weight_SN, None, size)
        order_SN = jnp.argsort(weight_SN == 0, axis=1, stable=True)

        def sorted_and_filled(part: Array) -> Array:
            fill = [(0, 0), (0, -N % size)] + [(0, 0)] * (part.ndim - 2)
            return jnp.pad(_taken(part, order_SN), fill)

        x_SND, target_SN, weight_SN = map(sorted_and_filled, (x_SND, target_SN, weight_SN))
        return cls(x_SND, target_SN, weight_SN, order_SN, size)

    def __getitem__(self, index: Array) -> tuple[Array, Array, Array]:
        """The chunk's stream, targets and weights, of all shards in a row."""
        x_KD, target_K, weight_K = (
            jax.lax.dynamic_slice_in_dim(part, index * self.size, self.size, axis=1).reshape(
                -1, *part.shape[2:]
            )
            for part in (self.x_SND, self.target_SN, self.weight_SN)
        )
        return x_KD, target_K, weight_K

    def put(self, whole_SN: Array, part_K: Array, index: Array) -> Array:
        """`whole_SN` with the chunk's places replaced by `part_K`; both may have one more axis."""
        part_SK = part_K.reshape(whole_SN.shape[0], self.size, *whole_SN.shape[2:])
        return jax.lax.dynamic_update_slice_in_dim(whole_SN, part_SK, index * self.size, axis=1)

    def each(self, piece: Callable[[Array, Any], Any], carry: Any) -> Any:
        """`carry` after `piece` on every chunk in which something counts."""
        if self.order_SN is None:
            return piece(jnp.int32(0), carry)
        most = jnp.max(jnp.sum(self.weight_SN != 0, axis=1))
        return jax.lax.fori_loop(0, -(-most // self.size), piece, carry)

    def back(self, values: Array, shape: tuple[int, ...]) -> Array:
        """Values of the places, in `shape`, which begins with B and T."""
        if self.order_SN is not None:
            at_SN = jnp.argsort(self.order_SN, axis=1)
            values = jnp.take_along_axis(
                values, at_SN.reshape(*at_SN.shape, *[1] * (values.ndim - 2)), axis=1
            )
        return values.reshape(shape)


def _taken(part: Array, order_SN: Array) -> Array:
    """The places of `part` in another order; it may have axes beyond S and N."""
    return jnp.take_along_axis(part, order_SN.reshape(*order_SN.shape, *[1] * (part.ndim - 2)), axis=1)


def chunk_size(N: int, tokens: int) -> int:
    """How many of `N` places are a chunk when at most `tokens` may be: parts of about one size."""
    return -(-N // -(-N // max(tokens, 1)))
