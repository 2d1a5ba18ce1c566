"""Tables of vectors: that of tokens, read at the beginning, and the one at the end, which may be the same."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from tunix_exp.models.layers.dense import parameter


class Embedding(nnx.Module):
    """A table of vectors, read by index."""

    def __init__(
        self, rows: int, width: int, *, std: float, param_dtype: DTypeLike, compute_dtype: DTypeLike
    ) -> None:
        self.embedding = parameter((rows, width), param_dtype, std=std)
        self.compute_dtype = jnp.dtype(compute_dtype)

    def __call__(self, index_BT: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        """The rows at `index_BT`, in the compute dtype; an index outside the table takes the nearest row."""
        return self.read(index_BT)[0]

    def read(self, index_BT: Int[Array, "B T"]) -> tuple[Float[Array, "B T D"], Float[Array, "V D"]]:
        """The rows at `index_BT`, and the table for its next reader, onto whose gradient theirs is added."""
        x_BTD, table_VD = _looked_up(self.embedding[...], index_BT)
        return x_BTD.astype(self.compute_dtype), table_VD


@jax.custom_vjp
def _looked_up(table_VD: Array, index_BT: Array) -> tuple[Array, Array]:
    return table_VD.at[index_BT].get(mode="clip"), table_VD


def _looked_up_fwd(table_VD: Array, index_BT: Array) -> tuple[tuple[Array, Array], Array]:
    return _looked_up(table_VD, index_BT), index_BT


def _looked_up_bwd(index_BT: Array, gradients: tuple[Array, Array]) -> tuple[Array, None]:
    """The rows' gradients added in place: a table of their own, mostly zeros, would be as large again."""
    dx_BTD, dtable_VD = gradients
    return dtable_VD.at[index_BT].add(dx_BTD.astype(dtable_VD.dtype), mode="clip"), None


_looked_up.defvjp(_looked_up_fwd, _looked_up_bwd)


@dataclass(frozen=True)
class Unembedding:
    """From the stream to scores over the vocabulary, by a table that is its own or that of the tokens."""

    compute_dtype: np.dtype
    soft_cap: float | None = None

    def logits(self, x_D: Float[Array, "... D"], table_VD: Float[Array, "V D"]) -> Float[Array, "... V"]:
        """The scores, float32."""
        return self.capped(self.product(x_D, table_VD))

    def logits_of_few(self, x_ND: Float[Array, "N D"], table_VD: Float[Array, "V D"]) -> Float[Array, "N V"]:
        """`logits` of so few rows that they take the time of reading the table.

        With the table as the first factor XLA on a CPU multiplies it as it lies, and packs only the rows: as
        the second it is packed whole for every token, which takes half as much time again.
        """

        def table_first(x_ND: Array, table_VD: Array) -> Array:
            # Without the barrier XLA would swap the factors of a product that is transposed.
            return self.capped(jax.lax.optimization_barrier(self.product(table_VD, x_ND)).T)

        return jax.lax.platform_dependent(x_ND, table_VD, cpu=table_first, default=self.logits)

    def product(self, x_D: Float[Array, "... D"], table_VD: Float[Array, "V D"]) -> Float[Array, "... V"]:
        """The product of `x_D` with every row of the table, summed and kept in float32."""
        return jnp.einsum(
            "...d,vd->...v",
            x_D.astype(self.compute_dtype),
            table_VD.astype(self.compute_dtype),
            preferred_element_type=jnp.float32,
        )

    def capped(self, logits_V: Float[Array, "... V"]) -> Float[Array, "... V"]:
        """The logits kept within the soft cap, where there is one."""
        if self.soft_cap is None:
            return logits_V
        return jnp.tanh(logits_V / self.soft_cap) * self.soft_cap
