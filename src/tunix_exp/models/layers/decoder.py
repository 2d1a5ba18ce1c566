"""The decoder of every family: embedding, blocks, final norm, unembedding.

A family gives its parts; what a layer is told beside the stream is in `Layer`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from tunix_exp.models.config import UNBOUNDED, ModelConfig
from tunix_exp.models.kernels import Kernel
from tunix_exp.models.layers.attention import attend_rows
from tunix_exp.models.layers.cache import Cache, Next, Room, Rows, fill
from tunix_exp.models.layers.embedding import Embedding, Unembedding
from tunix_exp.models.layers.rotary import Rotary
from tunix_exp.models.layers.stack import LayerLoop, Remat, make_blocks, run_blocks, unstacked
from tunix_exp.models.loss_chunk import LossChunk
from tunix_exp.models.sharding import split_rows


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Layer:
    """What differs between layers: how far back one sees, in tokens with the own one counted, and the angle
    by which a position rotates each pair of channels. None where no layer of the model has a window, or a
    rotation.
    """

    window: Int[Array, ""] | None
    frequencies_R: Float[Array, " R"] | None


class Decoder(nnx.Module):
    """A decoder that `embed` and `decode` run and `logits` reads.

    `blocks` make a block each, in the order in which kinds of blocks come round through the layers;
    `block(x_BTD, positions_BT, layer, past)` runs one: it gives the stream after it, and what is left
    for a cache. Embedded tokens are multiplied by `embedding_scale`, and a `position_embedding` is added to
    them, where there is one. `windows` are each layer's, None where every layer sees all.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        blocks: Sequence[Callable[[], nnx.Module]],
        final_norm: nnx.Module,
        param_dtype: DTypeLike,
        compute_dtype: DTypeLike,
        head_width: int,
        has_position_embedding: bool = False,
        embedding_scale: float | None = None,
        rotary: Rotary | None = None,
        windows: tuple[int, ...] | None = None,
        attention_soft_cap: float | None = None,
        logit_soft_cap: float | None = None,
    ) -> None:
        embedding = partial(
            Embedding,
            width=config.width,
            std=config.init_std,
            param_dtype=param_dtype,
            compute_dtype=compute_dtype,
        )
        self.token_embedding = embedding(config.vocab_size)
        self.output_embedding = None if config.tied_embeddings else embedding(config.vocab_size)
        self.position_embedding = embedding(config.num_positions) if has_position_embedding else None
        self.blocks = make_blocks(blocks, config.num_layers, layer_loop=config.layer_loop)
        self.final_norm: Any = final_norm
        self.unembedding = Unembedding(jnp.dtype(compute_dtype), logit_soft_cap)
        self.vocab_size = config.vocab_size
        self.num_positions = config.num_positions
        self.width = config.width
        self.head_width = head_width
        self.embedding_scale = embedding_scale
        self.rotary = rotary
        self.is_windowed = windows is not None
        self.windows = (UNBOUNDED,) * config.num_layers if windows is None else windows
        self.attention_soft_cap = attention_soft_cap
        self.layer_loop: LayerLoop = config.layer_loop
        # Of `auto` a step has what its plan chose; where nothing is differentiated, it does nothing.
        self.remat: Remat = "block" if config.remat == "auto" else config.remat
        self.compute_dtype = jnp.dtype(compute_dtype)
        self.attention_kernel: Kernel = "einsum"  # a training step may choose another
        self.loss_chunk = LossChunk.of_cpu(config.vocab_size)  # a plan for an accelerator chooses another

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
        """The stream before the first block, and the table that gives the logits."""
        x_BTD, table_VD = self.token_embedding.read(tokens_BT)
        if self.output_embedding is not None:
            table_VD = self.output_embedding.embedding[...]
        if self.embedding_scale is not None:
            # The factor is rounded to the compute dtype, as in training: in bfloat16 √2048 is 45.25.
            x_BTD = x_BTD * jnp.asarray(self.embedding_scale, self.compute_dtype)
        if self.position_embedding is not None:
            x_BTD = x_BTD + self.position_embedding(positions_BT)
        return x_BTD, table_VD

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

            def following(block: Any, x_BTD: Array, layer: Any) -> tuple[Array, Any]:
                traits, kept = layer
                return block(x_BTD, positions_BT, traits, Next(kept, cache))

            told = list(zip(self._layers(), cache.layers, strict=True))
            x_BTD, kept = run_blocks(unstacked(self.blocks), x_BTD, following, told, remat="none")
            return self.final_norm(x_BTD), cache.with_next(kept)

        def whole(block: Any, x_BTD: Array, layer: Layer) -> tuple[Array, Any]:
            # Who sees whom is made in every layer and not kept: XLA fuses it into the soft-max.
            attention = partial(
                attend_rows,
                segment_ids_BT=segment_ids_BT,
                kernel=self.attention_kernel,
                window=layer.window,
                windows=tuple(sorted(set(self.windows))),
            )
            past = Rows(segment_ids_BT, attention, keeps=cache is not None)
            return block(x_BTD, positions_BT, layer, past)

        x_BTD, left = run_blocks(self.blocks, split_rows(x_BTD), whole, self._layers(), remat=self.remat)
        made = None if cache is None else fill(left, segment_ids_BT, cache, self.windows)
        return self.final_norm(x_BTD), made

    def logits(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Scores over the vocabulary, float32, where few tokens want them."""
        table = self.token_embedding if self.output_embedding is None else self.output_embedding
        x_ND = x_BTD.reshape(-1, x_BTD.shape[-1])
        logits_NV = self.unembedding.logits_of_few(x_ND, table.embedding[...])
        return logits_NV.reshape(*x_BTD.shape[:-1], -1)

    def _layers(self) -> list[Layer]:
        window_L = np.asarray(self.windows, np.int32) if self.is_windowed else None
        frequencies_LR = None if self.rotary is None else self.rotary.frequencies()

        def part(of_layers: np.ndarray | None, layer: int) -> Any:
            return None if of_layers is None else of_layers[layer]

        return [Layer(part(window_L, n), part(frequencies_LR, n)) for n in range(len(self.windows))]
