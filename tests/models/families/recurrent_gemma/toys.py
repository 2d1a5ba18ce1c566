"""RecurrentGemma, small enough to compile in a moment, made once: copy before you change one."""

from functools import cache

import jax.numpy as jnp

from tests.models.families.gemma.toys import COMMON as GROUPED
from tunix_exp.models.architecture import build
from tunix_exp.models.families.recurrent_gemma.config import RecurrentGemmaConfig
from tunix_exp.models.layers.decoder import Decoder

COMMON = {key: value for key, value in GROUPED.items() if key != "query_pre_attn_scalar"} | {
    "family": "recurrent_gemma",
    "width": 32,  # that of four heads of 8, as config.json has it
    "num_layers": 5,  # a round of three, and two layers of another
    "block_types": ("recurrent", "recurrent", "attention"),
    "recurrence_width": 20,
    "convolution_taps": 4,
    "window": 3,
    "rotated_share": 0.5,
    "logit_soft_cap": 4.0,
}


def recurrent_config(**changes) -> RecurrentGemmaConfig:
    return RecurrentGemmaConfig(**(COMMON | changes))


@cache
def recurrent_model(*, param_dtype=jnp.float32, compute_dtype=jnp.float32, **changes) -> Decoder:
    config = recurrent_config(**changes)
    return build(config, param_dtype=param_dtype, compute_dtype=compute_dtype, seed=0)
