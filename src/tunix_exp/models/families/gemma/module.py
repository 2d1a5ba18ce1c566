"""Gemma 1, 2 and 3 text: rotary positions, grouped queries, gated MLP, local and global layers, soft caps.

Papers: Gemma (2024), Gemma 2 (2024), Gemma 3 (2025), all by the Gemma Team.
"""

import math
from functools import partial
from typing import Any

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from tunix_exp.models.families.gemma.config import GemmaConfig
from tunix_exp.models.layers.activations import gated_gelu
from tunix_exp.models.layers.cache import Attend
from tunix_exp.models.layers.decoder import Decoder, Layer
from tunix_exp.models.layers.dense import Dense
from tunix_exp.models.layers.gated_mlp import GatedMLP
from tunix_exp.models.layers.grouped_attention import GroupedAttention
from tunix_exp.models.layers.norms import RMSNorm
from tunix_exp.models.layers.rotary import Rotary, angles


class Block(nnx.Module):
    """Attention and MLP, each added to the stream that it reads through a norm, in Gemma 2 and 3 through
    a second norm.
    """

    def __init__(self, config: GemmaConfig, *, param_dtype: DTypeLike, compute_dtype: DTypeLike) -> None:
        dtypes = {"param_dtype": param_dtype, "compute_dtype": compute_dtype}
        dense = partial(Dense, std=config.init_std, has_bias=False, **dtypes)
        norm = partial(RMSNorm, epsilon=config.norm_epsilon, **dtypes)
        self.attention_norm = norm(config.width)
        self.attention = GroupedAttention(
            config.width,
            num_heads=config.num_heads,
            num_key_heads=config.num_key_heads,
            head_width=config.head_width,
            scale=1 / math.sqrt(config.query_pre_attn_scalar),
            soft_cap=config.attention_soft_cap,
            dense=dense,
            norm=norm if config.has_query_key_norms else None,
        )
        self.attention_post_norm = norm(config.width) if config.has_post_norms else None
        self.mlp_norm = norm(config.width)
        self.mlp = GatedMLP(config.width, config.mlp_width, dense=dense, gated=gated_gelu)
        self.mlp_post_norm = norm(config.width) if config.has_post_norms else None

    def __call__(
        self, x_BTD: Float[Array, "B T D"], positions_BT: Int[Array, "B T"], layer: Layer, attend: Attend
    ) -> tuple[Float[Array, "B T D"], Any]:
        """The stream after this block, and what `attend` leaves."""
        assert layer.frequencies_R is not None
        angles_BTR = angles(positions_BT, layer.frequencies_R)
        update_BTD, left = self.attention(self.attention_norm(x_BTD), angles_BTR, attend)
        if self.attention_post_norm is not None:
            update_BTD = self.attention_post_norm(update_BTD)
        x_BTD = x_BTD + update_BTD
        update_BTD = self.mlp(self.mlp_norm(x_BTD))
        if self.mlp_post_norm is not None:
            update_BTD = self.mlp_post_norm(update_BTD)
        return x_BTD + update_BTD, left


def decoder(config: GemmaConfig, *, param_dtype: DTypeLike, compute_dtype: DTypeLike) -> Decoder:
    """The model, whose parameters hold their means."""
    dtypes = {"param_dtype": param_dtype, "compute_dtype": compute_dtype}
    return Decoder(
        config,
        block=lambda: Block(config, **dtypes),
        final_norm=RMSNorm(config.width, epsilon=config.norm_epsilon, **dtypes),
        head_width=config.head_width,
        embedding_scale=math.sqrt(config.width),
        rotary=Rotary(config.rope_bases, config.head_width),
        windows=config.windows,
        attention_soft_cap=config.attention_soft_cap,
        logit_soft_cap=config.logit_soft_cap,
        param_dtype=param_dtype,
        compute_dtype=compute_dtype,
    )
