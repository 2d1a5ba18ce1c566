"""Gemma 1, 2 and 3 text: rotary positions, grouped queries, gated MLP, local and global layers, soft caps.

Papers: Gemma (2024), Gemma 2 (2024), Gemma 3 (2025), all by the Gemma Team. One more axis letter: R, the
H/2 rotary frequencies.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from tunix_exp.models.attention import attend_rows
from tunix_exp.models.cache import UNBOUNDED, Attend, Cache, Room, attend_next, attend_whole, fill
from tunix_exp.models.gemma_config import GemmaConfig
from tunix_exp.models.kernels import Kernel
from tunix_exp.models.layers import Dense, Embedding, RMSNorm, Unembedding, gated_gelu
from tunix_exp.models.sharding import split_rows
from tunix_exp.models.stack import LayerLoop, Remat, make_blocks, run_blocks, unstacked


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Traits:
    """What differs between layers (with a leading L where they are stacked): how far back it sees, in
    tokens with the own one counted, and the angle by which a position turns each pair of channels.
    """

    window: Int[Array, ""]
    frequencies_R: Float[Array, " R"]


class Attention(nnx.Module):
    """Causal self-attention in which several query heads share one head of keys and values."""

    def __init__(
        self, config: GemmaConfig, dense: Callable[..., Dense], norm: Callable[[int], RMSNorm]
    ) -> None:
        N, K, H = config.num_heads, config.num_key_heads, config.head_width
        self.query = dense(config.width, N * H)
        self.key = dense(config.width, K * H)
        self.value = dense(config.width, K * H)
        self.out = dense(N * H, config.width)
        self.query_norm = norm(H) if config.has_query_key_norms else None
        self.key_norm = norm(H) if config.has_query_key_norms else None
        self.head_width = H
        self.scale = 1 / math.sqrt(config.query_pre_attn_scalar)
        self.soft_cap = config.attention_soft_cap

    def __call__(
        self, x_BTD: Float[Array, "B T D"], angles_BTR: Float[Array, "B T R"], attend: Attend
    ) -> tuple[Float[Array, "B T D"], Any]:
        """What each token gathers from those it sees, and what `attend` leaves."""
        B, T, _ = x_BTD.shape
        q_BTNH, k_BSKH, v_BSKH = (
            part(x_BTD).reshape(B, T, -1, self.head_width) for part in (self.query, self.key, self.value)
        )
        if self.query_norm is not None and self.key_norm is not None:
            q_BTNH, k_BSKH = self.query_norm(q_BTNH), self.key_norm(k_BSKH)
        q_BTNH, k_BSKH = turned(q_BTNH, angles_BTR), turned(k_BSKH, angles_BTR)
        y_BTNH, left = attend(q_BTNH, k_BSKH, v_BSKH, scale=self.scale, soft_cap=self.soft_cap)
        return self.out(y_BTNH.reshape(B, T, -1)), left


class MLP(nnx.Module):
    """GeGLU (Shazeer 2020) with the tanh form of gelu."""

    def __init__(self, config: GemmaConfig, dense: Callable[..., Dense]) -> None:
        self.gate = dense(config.width, config.mlp_width)
        self.up = dense(config.width, config.mlp_width)
        self.down = dense(config.mlp_width, config.width)

    def __call__(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """Each token's own update."""
        return self.down(gated_gelu(self.gate(x_BTD), self.up(x_BTD)))


class Block(nnx.Module):
    """Attention and MLP, each added to the stream that it reads through a norm, in Gemma 2 and 3 through
    a second norm.
    """

    def __init__(self, config: GemmaConfig, *, param_dtype: DTypeLike, compute_dtype: DTypeLike) -> None:
        dtypes = {"param_dtype": param_dtype, "compute_dtype": compute_dtype}
        dense = partial(Dense, std=config.init_std, has_bias=False, **dtypes)
        norm = partial(RMSNorm, epsilon=config.norm_epsilon, **dtypes)
        self.attention_norm = norm(config.width)
        self.attention = Attention(config, dense, norm)
        self.attention_post_norm = norm(config.width) if config.has_post_norms else None
        self.mlp_norm = norm(config.width)
        self.mlp = MLP(config, dense)
        self.mlp_post_norm = norm(config.width) if config.has_post_norms else None

    def __call__(
        self, x_BTD: Float[Array, "B T D"], angles_BTR: Float[Array, "B T R"], attend: Attend
    ) -> tuple[Float[Array, "B T D"], Any]:
        """The stream after this block, and what `attend` leaves."""
        update_BTD, left = self.attention(self.attention_norm(x_BTD), angles_BTR, attend)
        if self.attention_post_norm is not None:
            update_BTD = self.attention_post_norm(update_BTD)
        x_BTD = x_BTD + update_BTD
        update_BTD = self.mlp(self.mlp_norm(x_BTD))
        if self.mlp_post_norm is not None:
            update_BTD = self.mlp_post_norm(update_BTD)
        return x_BTD + update_BTD, left


class Gemma(nnx.Module):
    """A decoder that `embed` and `decode` run and `logits` reads."""

    def __init__(self, config: GemmaConfig, *, param_dtype: DTypeLike, compute_dtype: DTypeLike) -> None:
        dtypes = {"param_dtype": param_dtype, "compute_dtype": compute_dtype}
        self.token_embedding = Embedding(config.vocab_size, config.width, std=config.init_std, **dtypes)
        self.blocks = make_blocks(
            lambda: Block(config, **dtypes), config.num_layers, layer_loop=config.layer_loop
        )
        self.final_norm = RMSNorm(config.width, epsilon=config.norm_epsilon, **dtypes)
        self.unembedding = Unembedding(jnp.dtype(compute_dtype), config.logit_soft_cap)
        self.vocab_size = config.vocab_size
        self.num_positions = config.num_positions
        self.width = config.width
        self.num_layers = config.num_layers
        self.num_key_heads = config.num_key_heads
        self.head_width = config.head_width
        self.windows, self.rope_bases = _windows_and_bases(config)
        self.attention_soft_cap = config.attention_soft_cap
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
        del positions_BT  # they turn queries and keys, and not the stream
        x_BTD, table_VD = self.token_embedding.read(tokens_BT)
        # The factor is rounded to the compute dtype, as in training: in bfloat16 √2048 is 45.25.
        return x_BTD * jnp.asarray(math.sqrt(self.width), self.compute_dtype), table_VD

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

        def angles(traits: Traits) -> Float[Array, "B T R"]:
            return positions_BT[..., None] * traits.frequencies_R[None, None, :]

        if isinstance(cache, Cache):

            def following(block: Any, x_BTD: Array, layer: Any) -> tuple[Array, Any]:
                traits, kept = layer
                return block(x_BTD, angles(traits), partial(attend_next, layer=kept, cache=cache))

            layers = list(zip(self._traits("unroll"), cache.layers, strict=True))
            x_BTD, kept = run_blocks(unstacked(self.blocks), x_BTD, following, layers, remat="none")
            return self.final_norm(x_BTD), cache.with_next(kept)

        def whole(block: Any, x_BTD: Array, traits: Traits) -> tuple[Array, Any]:
            # Who sees whom is made in every layer and not kept: XLA fuses it into the soft-max.
            attend = partial(
                attend_rows,
                segment_ids_BT=segment_ids_BT,
                kernel=self.attention_kernel,
                window=traits.window,
                windows=tuple(sorted(set(self.windows))),
            )
            return block(x_BTD, angles(traits), partial(attend_whole, attend=attend, keeps=cache is not None))

        x_BTD, left = run_blocks(
            self.blocks, split_rows(x_BTD), whole, self._traits(self.layer_loop), remat=self.remat
        )
        made = None if cache is None else fill(left, segment_ids_BT, cache, self.windows)
        return self.final_norm(x_BTD), made

    def logits(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Scores over the vocabulary, float32, from the tied embedding."""
        return self.unembedding.logits(x_BTD, self.token_embedding.embedding[...])

    def _traits(self, layer_loop: LayerLoop) -> Any:
        """The traits of every layer: a list, or for "scan" stacked."""
        window_L = np.asarray(self.windows, np.int32)
        frequencies_LR = np.stack([frequencies(base, self.head_width) for base in self.rope_bases])
        if layer_loop == "scan":
            return Traits(jnp.asarray(window_L), jnp.asarray(frequencies_LR))
        return [
            Traits(jnp.asarray(w), jnp.asarray(f_R)) for w, f_R in zip(window_L, frequencies_LR, strict=True)
        ]


def frequencies(base: float, head_width: int) -> Float[np.ndarray, " R"]:
    """The angles per position of the H/2 pairs: base^(-2i/H) (Su et al. 2021)."""
    return (base ** -(np.arange(0, head_width, 2) / head_width)).astype(np.float32)


def turned(x_BTNH: Float[Array, "B T N H"], angles_BTR: Float[Array, "B T R"]) -> Float[Array, "B T N H"]:
    """`x_BTNH` with the pair of channels i and i + H/2 turned by angle i; computed in float32."""
    cos_BT1R, sin_BT1R = jnp.cos(angles_BTR)[:, :, None], jnp.sin(angles_BTR)[:, :, None]
    one_BTNR, other_BTNR = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
    turned_BTNH = jnp.concatenate(
        [one_BTNR * cos_BT1R - other_BTNR * sin_BT1R, other_BTNR * cos_BT1R + one_BTNR * sin_BT1R], axis=-1
    )
    return turned_BTNH.astype(x_BTNH.dtype)


def _windows_and_bases(config: GemmaConfig) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Each layer's window and rotary base."""
    if config.window is None or config.rope_local_base is None:
        return (UNBOUNDED,) * config.num_layers, (config.rope_base,) * config.num_layers
    is_global = [config.is_global(layer) for layer in range(config.num_layers)]
    return (
        tuple(UNBOUNDED if g else config.window for g in is_global),
        tuple(config.rope_base if g else config.rope_local_base for g in is_global),
    )
