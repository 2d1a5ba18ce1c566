"""GPT-2 (Radford et al. 2019): learned positions, pre-norm blocks, fused query-key-value, tied embeddings."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from tunix_exp.models.attention import attend_rows
from tunix_exp.models.cache import UNBOUNDED, Attend, Cache, Room, attend_next, attend_whole, fill
from tunix_exp.models.config import GPT2Config
from tunix_exp.models.kernels import Kernel
from tunix_exp.models.layers import Dense, Embedding, LayerNorm, Unembedding, gelu
from tunix_exp.models.sharding import split_rows
from tunix_exp.models.stack import LayerLoop, Remat, make_blocks, run_blocks, unstacked


class Attention(nnx.Module):
    """Causal self-attention; query, key and value come from one kernel, in this order."""

    def __init__(self, config: GPT2Config, dense: Callable[..., Dense]) -> None:
        self.qkv = dense(config.width, 3 * config.width, std=config.init_std)
        self.out = dense(config.width, config.width, std=_residual_std(config))
        self.num_heads = config.num_heads

    def __call__(self, x_BTD: Float[Array, "B T D"], attend: Attend) -> tuple[Float[Array, "B T D"], Any]:
        """What each token gathers from those it sees, and what `attend` leaves."""
        B, T, D = x_BTD.shape
        q_BTNH, k_BSKH, v_BSKH = (
            part.reshape(B, T, self.num_heads, D // self.num_heads)
            for part in jnp.split(self.qkv(x_BTD), 3, axis=-1)
        )
        y_BTNH, left = attend(q_BTNH, k_BSKH, v_BSKH, scale=1 / math.sqrt(q_BTNH.shape[-1]))
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

    def __call__(self, x_BTD: Float[Array, "B T D"], attend: Attend) -> tuple[Float[Array, "B T D"], Any]:
        """The stream after this block, and what `attend` leaves."""
        update_BTD, left = self.attention(self.attention_norm(x_BTD), attend)
        x_BTD = x_BTD + update_BTD
        return x_BTD + self.mlp(self.mlp_norm(x_BTD)), left


class GPT2(nnx.Module):
    """A decoder that `embed` and `decode` run and `logits` reads."""

    def __init__(self, config: GPT2Config, *, param_dtype: DTypeLike, compute_dtype: DTypeLike) -> None:
        dtypes = {"param_dtype": param_dtype, "compute_dtype": compute_dtype}
        embedding = partial(Embedding, width=config.width, std=config.init_std, **dtypes)
        self.token_embedding = embedding(config.vocab_size)
        self.position_embedding = embedding(config.num_positions)
        self.blocks = make_blocks(
            lambda: Block(config, **dtypes), config.num_layers, layer_loop=config.layer_loop
        )
        self.final_norm = LayerNorm(config.width, epsilon=config.norm_epsilon, **dtypes)
        self.unembedding = Unembedding(jnp.dtype(compute_dtype))
        self.vocab_size = config.vocab_size
        self.num_positions = config.num_positions
        self.num_layers = config.num_layers
        self.num_heads = config.num_heads
        self.head_width = config.width // config.num_heads
        self.windows: tuple[int, ...] = (UNBOUNDED,) * config.num_layers
        self.attention_soft_cap: float | None = None
        self.layer_loop: LayerLoop = config.layer_loop
        self.remat: Remat = config.remat
        self.compute_dtype = jnp.dtype(compute_dtype)
        self.attention_kernel: Kernel = "einsum"  # a training step may choose another

    def hidden(
        self,
        tokens_BT: Int[Array, "B T"],
        positions_BT: Int[Array, "B T"],
        segment_ids_BT: Int[Array, "B T"],
        cache: Cache | Room | None = None,
    ) -> tuple[Float[Array, "B T D"], Cache | None]:
        """`decode` of what `embed` gives."""
        return self.decode(self.embed(tokens_BT, positions_BT)[0], positions_BT, segment_ids_BT, cache)

    def embed(
        self, tokens_BT: Int[Array, "B T"], positions_BT: Int[Array, "B T"]
    ) -> tuple[Float[Array, "B T D"], Float[Array, "V D"]]:
        """The stream before the first block, and the table of tokens for its next reader."""
        x_BTD, table_VD = self.token_embedding.read(tokens_BT)
        return x_BTD + self.position_embedding(positions_BT), table_VD

    def decode(
        self,
        x_BTD: Float[Array, "B T D"],
        positions_BT: Int[Array, "B T"],
        segment_ids_BT: Int[Array, "B T"],
        cache: Cache | Room | None = None,
    ) -> tuple[Float[Array, "B T D"], Cache | None]:
        """The stream after the final norm, and a cache that has these tokens too, where one is given (one
        token a row) or room for it (left-padded rows).
        """
        if isinstance(cache, Cache):
            x_BTD, layers = run_blocks(
                unstacked(self.blocks),
                x_BTD,
                lambda block, x_BTD, layer: block(x_BTD, partial(attend_next, layer=layer, cache=cache)),
                cache.layers,
                remat="none",
            )
            return self.final_norm(x_BTD), cache.with_next(layers)
        attend = partial(
            attend_whole,
            attend=partial(
                attend_rows,
                segment_ids_BT=segment_ids_BT,
                kernel=self.attention_kernel,
                window=None,
                windows=self.windows[:1],
            ),
            keeps=cache is not None,
        )
        x_BTD, left = run_blocks(
            self.blocks,
            split_rows(x_BTD),
            lambda block, x_BTD, _: block(x_BTD, attend),
            None,
            remat=self.remat,
        )
        made = None if cache is None else fill(left, segment_ids_BT, cache, self.windows)
        return self.final_norm(x_BTD), made

    def logits(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Scores over the vocabulary, float32, from the tied embedding."""
        return self.unembedding.logits(x_BTD, self.token_embedding.embedding[...])


def _residual_std(config: GPT2Config) -> float:
    """The initial scale of what is added to the stream 2L times (GPT-2 report, §2.3)."""
    return config.init_std / math.sqrt(2 * config.num_layers)
