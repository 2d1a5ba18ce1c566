"""GPT-2 (Radford et al. 2019): learned positions, pre-norm blocks, fused query-key-value, tied embeddings."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from tunix_exp.models.families.gpt2.config import GPT2Config
from tunix_exp.models.layers.activations import gelu
from tunix_exp.models.layers.cache import Past
from tunix_exp.models.layers.decoder import Decoder, Layer
from tunix_exp.models.layers.dense import Dense
from tunix_exp.models.layers.norms import LayerNorm


class Attention(nnx.Module):
    """Causal self-attention; query, key and value come from one kernel, in this order."""

    def __init__(self, config: GPT2Config, dense: Callable[..., Dense]) -> None:
        self.qkv = dense(config.width, 3 * config.width, std=config.init_std)
        self.out = dense(config.width, config.width, std=_residual_std(config))
        self.num_heads = config.num_heads

    def __call__(self, x_BTD: Float[Array, "B T D"], past: Past) -> tuple[Float[Array, "B T D"], Any]:
        """What each token gathers from those it sees, and what is left for a cache."""
        B, T, D = x_BTD.shape
        q_BTNH, k_BSKH, v_BSKH = (
            part.reshape(B, T, self.num_heads, D // self.num_heads)
            for part in jnp.split(self.qkv(x_BTD), 3, axis=-1)
        )
        y_BTNH, left = past.attend(q_BTNH, k_BSKH, v_BSKH, scale=1 / math.sqrt(q_BTNH.shape[-1]))
        return self.out(y_BTNH.reshape(B, T, D)), left


class MLP(nnx.Module):
    """Two dense layers with the tanh form of gelu between them ("gelu_new")."""

    def __init__(self, config: GPT2Config, dense: Callable[..., Dense]) -> None:
        self.up = dense(config.width, config.mlp_width, std=config.init_std)
        self.down = dense(config.mlp_width, config.width, std=_residual_std(config))

    def __call__(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """Each token's own update."""
        return self.down(gelu(self.up(x_BTD)))


class Block(nnx.Module):
    """Attention and MLP, each added to the stream that it reads through a norm."""

    def __init__(self, config: GPT2Config, *, param_dtype: DTypeLike, compute_dtype: DTypeLike) -> None:
        dtypes = {"param_dtype": param_dtype, "compute_dtype": compute_dtype}
        dense = partial(Dense, **dtypes)
        self.attention_norm = LayerNorm(config.width, epsilon=config.norm_epsilon, **dtypes)
        self.attention = Attention(config, dense)
        self.mlp_norm = LayerNorm(config.width, epsilon=config.norm_epsilon, **dtypes)
        self.mlp = MLP(config, dense)

    def __call__(
        self, x_BTD: Float[Array, "B T D"], positions_BT: Int[Array, "B T"], layer: Layer, past: Past
    ) -> tuple[Float[Array, "B T D"], Any]:
        """The stream after this block, and what is left for a cache."""
        del positions_BT, layer  # positions are in the stream, and every layer sees all
        update_BTD, left = self.attention(self.attention_norm(x_BTD), past)
        x_BTD = x_BTD + update_BTD
        return x_BTD + self.mlp(self.mlp_norm(x_BTD)), left


def decoder(config: GPT2Config, *, param_dtype: DTypeLike, compute_dtype: DTypeLike) -> Decoder:
    """The model, whose parameters hold their means."""
    dtypes = {"param_dtype": param_dtype, "compute_dtype": compute_dtype}
    return Decoder(
        config,
        blocks=(lambda: Block(config, **dtypes),),
        final_norm=LayerNorm(config.width, epsilon=config.norm_epsilon, **dtypes),
        head_width=config.head_width,
        has_position_embedding=True,
        param_dtype=param_dtype,
        compute_dtype=compute_dtype,
    )


def _residual_std(config: GPT2Config) -> float:
    """The initial scale of what is added to the stream 2L times (GPT-2 report, §2.3)."""
    return config.init_std / math.sqrt(2 * config.num_layers)
