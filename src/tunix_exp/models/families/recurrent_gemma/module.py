"""RecurrentGemma: gated linear recurrences, local attention in every third layer, gated MLP.

Papers: Griffin (De et al. 2024), RecurrentGemma (Botev et al. 2024).
"""

import math
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from tunix_exp.models.families.recurrent_gemma.config import Kind, RecurrentGemmaConfig
from tunix_exp.models.layers.activations import gated_gelu
from tunix_exp.models.layers.cache import Past
from tunix_exp.models.layers.decoder import Decoder, Layer
from tunix_exp.models.layers.dense import Dense
from tunix_exp.models.layers.gated_mlp import GatedMLP
from tunix_exp.models.layers.grouped_attention import GroupedAttention
from tunix_exp.models.layers.norms import RMSNorm
from tunix_exp.models.layers.recurrence import Recurrence
from tunix_exp.models.layers.rotary import Rotary, angles


class Block(nnx.Module):
    """Recurrence or attention, then the MLP, each added to the stream that it reads through a norm."""

    def __init__(
        self, config: RecurrentGemmaConfig, kind: Kind, *, param_dtype: DTypeLike, compute_dtype: DTypeLike
    ) -> None:
        dtypes = {"param_dtype": param_dtype, "compute_dtype": compute_dtype}
        dense = partial(Dense, std=config.init_std, **dtypes)
        norm = partial(RMSNorm, epsilon=config.norm_epsilon, offset=1, **dtypes)
        is_recurrent = kind == "recurrent"
        self.temporal_norm = norm(config.width)
        self.recurrence = _recurrence(config, dense, dtypes) if is_recurrent else None
        self.attention = None if is_recurrent else _attention(config, dense)
        self.mlp_norm = norm(config.width)
        self.mlp = GatedMLP(config.width, config.mlp_width, has_bias=True, dense=dense, gated=gated_gelu)

    def __call__(
        self, x_BTD: Float[Array, "B T D"], positions_BT: Int[Array, "B T"], layer: Layer, past: Past
    ) -> tuple[Float[Array, "B T D"], Any]:
        """The stream after this block, and what is left for a cache."""
        if self.recurrence is not None:
            update_BTD, left = self.recurrence(self.temporal_norm(x_BTD), past)
        else:
            assert self.attention is not None
            assert layer.frequencies_R is not None
            angles_BTR = angles(positions_BT, layer.frequencies_R)
            update_BTD, left = self.attention(self.temporal_norm(x_BTD), angles_BTR, past)
        x_BTD = x_BTD + update_BTD
        return x_BTD + self.mlp(self.mlp_norm(x_BTD)), left


def decoder(config: RecurrentGemmaConfig, *, param_dtype: DTypeLike, compute_dtype: DTypeLike) -> Decoder:
    """The model, whose parameters hold their means."""
    dtypes = {"param_dtype": param_dtype, "compute_dtype": compute_dtype}
    return Decoder(
        config,
        blocks=[partial(Block, config, kind, **dtypes) for kind in config.block_types],
        final_norm=RMSNorm(config.width, epsilon=config.norm_epsilon, offset=1, **dtypes),
        head_width=config.head_width,
        # Rounded to bfloat16 in every compute dtype, as in training: for the 2B 50.5 in the place of 50.596.
        embedding_scale=float(np.asarray(math.sqrt(config.width)).astype(jnp.bfloat16)),
        rotary=Rotary((config.rope_base,) * config.num_layers, config.rotated_width),
        windows=(config.window,) * config.num_layers,
        logit_soft_cap=config.logit_soft_cap,
        param_dtype=param_dtype,
        compute_dtype=compute_dtype,
    )


def _recurrence(config: RecurrentGemmaConfig, dense: Any, dtypes: dict[str, DTypeLike]) -> Recurrence:
    return Recurrence(
        config.width,
        config.recurrence_width,
        num_blocks=config.num_heads,
        taps=config.convolution_taps,
        dense=dense,
        std=config.init_std,
        **dtypes,
    )


def _attention(config: RecurrentGemmaConfig, dense: Any) -> GroupedAttention:
    return GroupedAttention(
        config.width,
        num_heads=config.num_heads,
        num_key_heads=config.num_key_heads,
        head_width=config.head_width,
        scale=1 / math.sqrt(config.head_width),
        soft_cap=None,
        has_bias=False,
        has_out_bias=True,
        dense=dense,
        norm=None,
    )
