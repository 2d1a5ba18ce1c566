"""Gemma models small enough to compile in a moment, made once for all tests: copy before you change one."""

from functools import cache

import jax.numpy as jnp

from tunix_exp.models.architecture import build
from tunix_exp.models.families.gemma.config import GemmaConfig
from tunix_exp.models.layers.decoder import Decoder

COMMON = {
    "name": "toy",
    "weights": "random",
    "stored_dtype": "float32",
    "quantize": None,
    "tokenizer": "bundled:bytes",
    "vocab_size": 31,
    "num_positions": 24,
    "width": 12,
    "mlp_width": 20,
    "num_layers": 3,
    "num_heads": 4,
    "num_key_heads": 2,
    "head_width": 8,
    "query_pre_attn_scalar": 5.0,
    "rope_base": 10_000.0,
    "tied_embeddings": True,
    "norm_epsilon": 1e-6,
    "init_std": 0.3,
    "layer_loop": "unroll",
    "remat": "none",
}
OF_FAMILY = {
    "gemma": {
        "global_every": 1,
        "window": None,
        "rope_local_base": None,
        "rope_global_factor": None,
        "attention_soft_cap": None,
        "logit_soft_cap": None,
    },
    "gemma2": {
        "global_every": 2,
        "window": 3,
        "rope_local_base": 10_000.0,
        "rope_global_factor": None,
        "attention_soft_cap": 3.0,
        "logit_soft_cap": 4.0,
    },
    "gemma3": {
        "global_every": 3,
        "window": 3,
        "rope_base": 1_000_000.0,
        "rope_local_base": 10_000.0,
        "rope_global_factor": None,
        "attention_soft_cap": None,
        "logit_soft_cap": None,
    },
}


def gemma_config(family: str, **changes) -> GemmaConfig:
    return GemmaConfig(**(COMMON | OF_FAMILY[family] | {"family": family} | changes))


@cache
def gemma_model(family: str, *, param_dtype=jnp.float32, compute_dtype=jnp.float32, **changes) -> Decoder:
    config = gemma_config(family, **changes)
    return build(config, param_dtype=param_dtype, compute_dtype=compute_dtype, seed=0)
