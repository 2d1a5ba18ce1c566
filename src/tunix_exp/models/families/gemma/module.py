"""Gemma 1, 2 and 3 text: rotary positions, grouped queries, gated MLP, local and global layers, soft caps.

Papers: Gemma (2024), Gemma 2 (2024), Gemma 3 (2025), all by the Gemma Team.
"""

import math
from functools import partial

from jax.typing import DTypeLike

from tunix_exp.models.families.gemma.config import GemmaConfig
from tunix_exp.models.layers.activations import gated_gelu
from tunix_exp.models.layers.decoder import Decoder
from tunix_exp.models.layers.gated_block import GatedBlock
from tunix_exp.models.layers.norms import RMSNorm
from tunix_exp.models.layers.rotary import Rotary


def decoder(config: GemmaConfig, *, param_dtype: DTypeLike, compute_dtype: DTypeLike) -> Decoder:
    """The model, whose parameters hold their means."""
    dtypes = {"param_dtype": param_dtype, "compute_dtype": compute_dtype}
    norm = partial(RMSNorm, epsilon=config.norm_epsilon, offset=1, **dtypes)
    block = partial(
        GatedBlock,
        config,
        norm=norm,
        gated=gated_gelu,
        scale=1 / math.sqrt(config.query_pre_attn_scalar),
        soft_cap=config.attention_soft_cap,
        has_bias=False,
        has_query_key_norms=config.has_query_key_norms,
        has_post_norms=config.has_post_norms,
        **dtypes,
    )
    return Decoder(
        config,
        blocks=(block,),
        final_norm=norm(config.width),
        head_width=config.head_width,
        embedding_scale=math.sqrt(config.width),
        rotary=Rotary(config.rope_bases, config.head_width, factors_L=config.rope_factors),
        windows=config.windows,
        attention_soft_cap=config.attention_soft_cap,
        logit_soft_cap=config.logit_soft_cap,
        param_dtype=param_dtype,
        compute_dtype=compute_dtype,
    )
