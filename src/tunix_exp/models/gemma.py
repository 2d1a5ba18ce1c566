"""Gemma 1, 2 and 3 text: rotary positions, grouped queries, gated MLP, local and global layers, soft caps.

Papers: Gemma (2024), Gemma 2 (2024), Gemma 3 (2025), all by the Gemma Team. One more axis letter: R, the
H/2 rotary frequencies.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from tunix_exp.models.attention import Cache, LayerCache, attend, empty_cache, visible
from tunix_exp.models.gemma_config import GemmaConfig
from tunix_exp.models.layers import Dense, Embedding, RMSNorm, Unembedding, gated_gelu
from tunix_exp.models.sharding import split_rows
from tunix_exp.models.stack import LayerLoop, Remat, make_blocks, run_blocks

# A global layer is a local one whose window no sequence fills: then all layers run one program.
UNBOUNDED = int(np.iinfo(np.int32).max)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Traits:
    """What differs between layers (with a leading L where they are stacked): how far back it sees, in
    tokens with the own one counted, and the angle by which a position turns each pair of channels.
    """

    window: Int[Array, ""]
    frequencies_R: Float[Array, " R"]


@dataclass(frozen=True)
class Sight:
    """What all layers share: the positions, and the segments by which `visible` decides."""

    positions_BT: Int[Array, "B T"]
    query_segments_BT: Int[Array, "B T"]
    key_segments_BS: Int[Array, "B S"]
    slot: Int[Array, ""] | int  # of the first query


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
        self, x_BTD: Float[Array, "B T D"], sight: Sight, traits: Traits, cache: LayerCache | None
    ) -> tuple[Float[Array, "B T D"], LayerCache | None]:
        """What each token gathers from those it sees, and the cache with this call's keys and values."""
        B, T, _ = x_BTD.shape
        q_BTNH, k_BSKH, v_BSKH = (
            part(x_BTD).reshape(B, T, -1, self.head_width) for part in (self.query, self.key, self.value)
        )
        if self.query_norm is not None and self.key_norm is not None:
            q_BTNH, k_BSKH = self.query_norm(q_BTNH), self.key_norm(k_BSKH)
        angles_BTR = sight.positions_BT[..., None] * traits.frequencies_R[None, None, :]
        q_BTNH, k_BSKH = turned(q_BTNH, angles_BTR), turned(k_BSKH, angles_BTR)
        if cache is not None:
            cache = cache.write(k_BSKH, v_BSKH, jnp.asarray(sight.slot))
            k_BSKH, v_BSKH = cache.k_BSKH, cache.v_BSKH
        # Made in every layer, as it is not worth keeping: XLA fuses it into the soft-max.
        visible_BTS = visible(
            sight.query_segments_BT, sight.key_segments_BS, sight.slot, window=traits.window
        )
        y_BTNH = attend(q_BTNH, k_BSKH, v_BSKH, visible_BTS, scale=self.scale, soft_cap=self.soft_cap)
        return self.out(y_BTNH.reshape(B, T, -1)), cache


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

    def __init__(
        self, config: GemmaConfig, *, param_dtype: DTypeLike, compute_dtype: DTypeLike, rngs: nnx.Rngs
    ) -> None:
        dtypes = {"param_dtype": param_dtype, "compute_dtype": compute_dtype}
        dense = partial(Dense, std=config.init_std, has_bias=False, rngs=rngs, **dtypes)
        norm = partial(RMSNorm, epsilon=config.norm_epsilon, **dtypes)
        self.attention_norm = norm(config.width)
        self.attention = Attention(config, dense, norm)
        self.attention_post_norm = norm(config.width) if config.has_post_norms else None
        self.mlp_norm = norm(config.width)
        self.mlp = MLP(config, dense)
        self.mlp_post_norm = norm(config.width) if config.has_post_norms else None

    def __call__(
        self, x_BTD: Float[Array, "B T D"], sight: Sight, traits: Traits, cache: LayerCache | None
    ) -> tuple[Float[Array, "B T D"], LayerCache | None]:
        """The stream after this block, and its cache."""
        update_BTD, cache = self.attention(self.attention_norm(x_BTD), sight, traits, cache)
        if self.attention_post_norm is not None:
            update_BTD = self.attention_post_norm(update_BTD)
        x_BTD = x_BTD + update_BTD
        update_BTD = self.mlp(self.mlp_norm(x_BTD))
        if self.mlp_post_norm is not None:
            update_BTD = self.mlp_post_norm(update_BTD)
        return x_BTD + update_BTD, cache


class Gemma(nnx.Module):
    """A decoder that `embed` and `decode` run and `logits` reads."""

    def __init__(
        self, config: GemmaConfig, *, param_dtype: DTypeLike, compute_dtype: DTypeLike, rngs: nnx.Rngs
    ) -> None:
        dtypes = {"param_dtype": param_dtype, "compute_dtype": compute_dtype}
        self.token_embedding = Embedding(
            config.vocab_size, config.width, std=config.init_std, rngs=rngs, **dtypes
        )
        self.blocks = make_blocks(
            lambda rngs: Block(config, rngs=rngs, **dtypes),
            config.num_layers,
            layer_loop=config.layer_loop,
            rngs=rngs,
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
        self.layer_loop: LayerLoop = config.layer_loop
        self.remat: Remat = config.remat
        self.compute_dtype = jnp.dtype(compute_dtype)

    def hidden(
        self,
        tokens_BT: Int[Array, "B T"],
        positions_BT: Int[Array, "B T"],
        segment_ids_BT: Int[Array, "B T"],
        cache: Cache | None = None,
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
        cache: Cache | None = None,
    ) -> tuple[Float[Array, "B T D"], Cache | None]:
        """The stream after the final norm; a cache gets its next T slots written and is seen whole."""
        slot = 0 if cache is None else cache.length
        caches = None if cache is None else cache.layers
        if cache is not None:
            cache = cache.advance(segment_ids_BT)
        key_segments_BS = segment_ids_BT if cache is None else cache.segment_ids_BS
        sight = Sight(positions_BT, segment_ids_BT, key_segments_BS, slot)
        x_BTD, caches = run_blocks(
            self.blocks,
            split_rows(x_BTD),
            lambda block, x_BTD, layer: block(x_BTD, sight, *layer),
            self._layers(caches),
            remat=self.remat,
        )
        if cache is not None:
            cache = Cache(caches, cache.segment_ids_BS, cache.length)
        return self.final_norm(x_BTD), cache

    def logits(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Scores over the vocabulary, float32, from the tied embedding."""
        return self.unembedding.logits(x_BTD, self.token_embedding.embedding[...])

    def init_cache(self, batch: int, length: int) -> Cache:
        """An empty cache of `length` slots in the compute dtype; local layers keep all slots too."""
        return empty_cache(
            batch=batch,
            length=length,
            num_layers=self.num_layers,
            key_heads=self.num_key_heads,
            head_width=self.head_width,
            stacked=self.layer_loop == "scan",
            dtype=self.compute_dtype,
        )

    def _layers(self, caches: LayerCache | tuple[LayerCache, ...] | None) -> object:
        """Traits and cache of every layer, in the form that `run_blocks` asks for."""
        window_L = np.asarray(self.windows, np.int32)
        frequencies_LR = np.stack([frequencies(base, self.head_width) for base in self.rope_bases])
        if self.layer_loop == "scan":
            return Traits(jnp.asarray(window_L), jnp.asarray(frequencies_LR)), caches
        traits = [
            Traits(jnp.asarray(w), jnp.asarray(f_R)) for w, f_R in zip(window_L, frequencies_LR, strict=True)
        ]
        each = caches if isinstance(caches, tuple) else [None] * self.num_layers
        return list(zip(traits, each, strict=True))


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
