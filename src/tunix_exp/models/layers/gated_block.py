"""The block of most families: grouped attention and a gated MLP, each added to the stream through norms."""

from collections.abc import Callable
from functools import partial
from typing import Any

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from tunix_exp.models.config import GroupedConfig
from tunix_exp.models.layers.cache import Past
from tunix_exp.models.layers.decoder import Layer
from tunix_exp.models.layers.dense import Dense
from tunix_exp.models.layers.gated_mlp import GatedMLP
from tunix_exp.models.layers.grouped_attention import GroupedAttention
from tunix_exp.models.layers.rotary import angles


class GatedBlock(nnx.Module):
    """Attention and MLP, each added to the stream that it reads through a norm.

    With `has_post_norms` each is added through a second norm. `norm(width)` makes a norm, `gated` is the
    activation of the MLP; the other arguments are those of `GroupedAttention`.
    """

    def __init__(
        self,
        config: GroupedConfig,
        *,
        norm: Callable[[int], nnx.Module],
        gated: Callable[..., Array],
        scale: float,
        soft_cap: float | None,
        has_bias: bool,
        has_query_key_norms: bool,
        has_post_norms: bool,
        param_dtype: DTypeLike,
        compute_dtype: DTypeLike,
    ) -> None:
        dense = partial(Dense, std=config.init_std, param_dtype=param_dtype, compute_dtype=compute_dtype)
        self.attention_norm: Any = norm(config.width)
        self.attention = GroupedAttention(
            config.width,
            num_heads=config.num_heads,
            num_key_heads=config.num_key_heads,
            head_width=config.head_width,
            scale=scale,
            soft_cap=soft_cap,
            has_bias=has_bias,
            dense=dense,
            norm=norm if has_query_key_norms else None,
        )
        self.attention_post_norm: Any = norm(config.width) if has_post_norms else None
        self.mlp_norm: Any = norm(config.width)
        self.mlp = GatedMLP(config.width, config.mlp_width, dense=dense, gated=gated)
        self.mlp_post_norm: Any = norm(config.width) if has_post_norms else None

    def __call__(
        self, x_BTD: Float[Array, "B T D"], positions_BT: Int[Array, "B T"], layer: Layer, past: Past
    ) -> tuple[Float[Array, "B T D"], Any]:
        """The stream after this block, and what is left for a cache."""
        assert layer.frequencies_R is not None
        angles_BTR = angles(positions_BT, layer.frequencies_R)
        update_BTD, left = self.attention(self.attention_norm(x_BTD), angles_BTR, past)
        if self.attention_post_norm is not None:
            update_BTD = self.attention_post_norm(update_BTD)
        x_BTD = x_BTD + update_BTD
        update_BTD = self.mlp(self.mlp_norm(x_BTD))
        if self.mlp_post_norm is not None:
            update_BTD = self.mlp_post_norm(update_BTD)
        return x_BTD + update_BTD, left
