"""Llama, Qwen2, Qwen3 and SmolLM3: rotary positions, grouped queries, SwiGLU, norms before attention and MLP.

Papers: Llama 3 (Grattafiori et al. 2024), Qwen2.5 (Qwen Team 2024), Qwen3 (Qwen Team 2025).
"""

import math
from functools import partial

from jax.typing import DTypeLike

from tunix_exp.models.families.llama.config import LlamaConfig
from tunix_exp.models.layers.activations import gated_silu
from tunix_exp.models.layers.decoder import Decoder
from tunix_exp.models.layers.gated_block import GatedBlock
from tunix_exp.models.layers.norms import RMSNorm
from tunix_exp.models.layers.rotary import Rotary, Scaling


def decoder(config: LlamaConfig, *, param_dtype: DTypeLike, compute_dtype: DTypeLike) -> Decoder:
    """The model, whose parameters hold their means."""
    dtypes = {"param_dtype": param_dtype, "compute_dtype": compute_dtype}
    norm = partial(RMSNorm, epsilon=config.norm_epsilon, offset=0, **dtypes)
    block = partial(
        GatedBlock,
        config,
        norm=norm,
        gated=gated_silu,
        scale=1 / math.sqrt(config.head_width),
        soft_cap=None,
        has_bias=config.has_query_key_value_bias,
        has_query_key_norms=config.has_query_key_norms,
        has_post_norms=False,
        **dtypes,
    )
    return Decoder(
        config,
        blocks=(block,),
        final_norm=norm(config.width),
        head_width=config.head_width,
        rotary=Rotary(config.rope_bases, config.head_width, _scaling(config)),
        param_dtype=param_dtype,
        compute_dtype=compute_dtype,
    )


def _scaling(config: LlamaConfig) -> Scaling | None:
    if config.rope_factor is None:
        return None
    assert config.rope_low_freq_factor is not None
    assert config.rope_high_freq_factor is not None
    assert config.rope_original_positions is not None
    return Scaling(
        factor=config.rope_factor,
        low=config.rope_low_freq_factor,
        high=config.rope_high_freq_factor,
        num_positions=config.rope_original_positions,
    )
