"""Models small enough to compile in a moment, made once for all tests: copy before you change one."""

from functools import cache

import jax.numpy as jnp
from flax import nnx

from tunix_exp.models.architecture import build
from tunix_exp.models.families.gpt2.config import GPT2Config
from tunix_exp.models.layers.decoder import Decoder


def toy_config(**changes) -> GPT2Config:
    fields = {
        "family": "gpt2",
        "name": "toy",
        "weights": "random",
        "stored_dtype": "float32",
        "quantize": None,
        "tokenizer": "bundled:bytes",
        "vocab_size": 31,
        "num_positions": 24,
        "width": 16,
        "mlp_width": 48,
        "num_layers": 3,
        "num_heads": 2,
        "tied_embeddings": True,
        "norm_epsilon": 1e-5,
        "init_std": 0.3,
        "layer_loop": "unroll",
        "remat": "none",
    }
    return GPT2Config(**(fields | changes))


@cache
def toy_model(*, seed: int = 0, param_dtype=jnp.float32, compute_dtype=jnp.float32, **changes) -> Decoder:
    return build(toy_config(**changes), param_dtype=param_dtype, compute_dtype=compute_dtype, seed=seed)


def broken_model(value: float, **changes) -> Decoder:
    """A toy model of its own, whose table of tokens has `value` in every row."""
    model = nnx.merge(*nnx.split(toy_model(**changes)))
    table = model.token_embedding.embedding[...].at[:, 0].set(value)
    model.token_embedding.embedding = nnx.Param(table)
    return model
