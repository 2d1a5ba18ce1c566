"""The MLP with a gate (Shazeer 2020)."""

from collections.abc import Callable

from flax import nnx
from jaxtyping import Array, Float

from tunix_exp.models.layers.dense import Dense


class GatedMLP(nnx.Module):
    """`down(gated(gate(x), up(x)))`; `gated` is one of `activations`."""

    def __init__(
        self,
        width: int,
        mlp_width: int,
        *,
        has_bias: bool = False,
        dense: Callable[..., Dense],
        gated: Callable[..., Array],
    ) -> None:
        self.gate = dense(width, mlp_width, has_bias=has_bias)
        self.up = dense(width, mlp_width, has_bias=has_bias)
        self.down = dense(mlp_width, width, has_bias=has_bias)
        self.gated = gated

    def __call__(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """Each token's own update."""
        return self.down(self.gated(self.gate(x_BTD), self.up(x_BTD)))
