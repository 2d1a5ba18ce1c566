"""Llama and its relatives, small enough to compile in a moment, made once: copy before you change one."""

from functools import cache

import jax.numpy as jnp

from tests.models.families.gemma.toys import COMMON as GROUPED
from tunix_exp.models.architecture import build
from tunix_exp.models.families.llama.config import LlamaConfig
from tunix_exp.models.layers.decoder import Decoder

UNSCALED = dict.fromkeys(
    ("rope_factor", "rope_low_freq_factor", "rope_high_freq_factor", "rope_original_positions")
)
SCALED = {
    "rope_factor": 8.0,
    "rope_low_freq_factor": 1.0,
    "rope_high_freq_factor": 4.0,
    "rope_original_positions": 32,
}
COMMON = {key: value for key, value in GROUPED.items() if key != "query_pre_attn_scalar"}
COMMON |= UNSCALED | {"unrotated_every": None}
OF_FAMILY = {
    "llama": SCALED | {"rope_base": 500.0},
    "qwen2": {"tied_embeddings": False},
    "qwen3": {},
    "smollm3": {"unrotated_every": 3},
}


def llama_config(family: str, **changes) -> LlamaConfig:
    return LlamaConfig(**(COMMON | OF_FAMILY[family] | {"family": family} | changes))


@cache
def llama_model(family: str, *, param_dtype=jnp.float32, compute_dtype=jnp.float32, **changes) -> Decoder:
    config = llama_config(family, **changes)
    return build(config, param_dtype=param_dtype, compute_dtype=compute_dtype, seed=0)
