"""From a model config to a model: drawn at random, or as shapes alone."""

from functools import cache, partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from tunix_exp.models.cache import Cache, Room
from tunix_exp.models.config import ModelConfig
from tunix_exp.models.gemma import Gemma
from tunix_exp.models.gpt2 import GPT2
from tunix_exp.models.kernels import Kernel
from tunix_exp.models.layers import Unembedding
from tunix_exp.models.sharding import shardings
from tunix_exp.models.stack import LayerLoop, params_of_layer, unstacked


@runtime_checkable
class LanguageModel(Protocol):
    """What training and evaluation ask of every family."""

    vocab_size: int
    num_positions: int
    unembedding: Unembedding
    blocks: Any
    layer_loop: LayerLoop
    compute_dtype: np.dtype
    head_width: int
    windows: tuple[int, ...]
    attention_soft_cap: float | None
    attention_kernel: Kernel

    def hidden(
        self,
        tokens_BT: Int[Array, "B T"],
        positions_BT: Int[Array, "B T"],
        segment_ids_BT: Int[Array, "B T"],
        cache: Cache | Room | None = None,
    ) -> tuple[Float[Array, "B T D"], Cache | None]:
        """`decode` of what `embed` gives."""
        ...

    def embed(
        self, tokens_BT: Int[Array, "B T"], positions_BT: Int[Array, "B T"]
    ) -> tuple[Float[Array, "B T D"], Float[Array, "V D"]]:
        """The stream before the first block, and the table of tokens for its next reader."""
        ...

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
        ...

    def logits(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Scores over the vocabulary, float32."""
        ...


Model = GPT2 | Gemma
FAMILIES = {"gpt2": GPT2, "gemma": Gemma, "gemma2": Gemma, "gemma3": Gemma}


def build(
    config: ModelConfig,
    *,
    param_dtype: DTypeLike,
    compute_dtype: DTypeLike,
    seed: int,
    mesh: jax.sharding.Mesh | None = None,
) -> Model:
    """A model whose parameters are drawn from `seed`, in `param_dtype` from the first byte, over the mesh.

    The draw is compiled, so no second copy in another type ever exists; the seed is an input of the
    compiled program. Equal for both layer loops.
    """
    dtypes = jnp.dtype(param_dtype), jnp.dtype(compute_dtype)
    graphdef, draw = _drawing(config, *dtypes, mesh)  # pyright: ignore[reportArgumentType]
    return nnx.merge(graphdef, draw(jax.random.key(seed)))


@cache
def _drawing(
    config: ModelConfig, param_dtype: np.dtype, compute_dtype: np.dtype, mesh: jax.sharding.Mesh | None
) -> tuple[Any, Any]:
    """The graph and the draw of its parameters, compiled once for all seeds of a process.

    Layers are drawn stacked and then taken apart, by programs that do not grow with them.
    """
    stacked = config.model_copy(update={"layer_loop": "scan"})
    dtypes = {"param_dtype": param_dtype, "compute_dtype": compute_dtype}

    def jitted(function: Any, shapes: Any) -> Any:
        return jax.jit(function, out_shardings=None if mesh is None else shardings(shapes, mesh))

    stacked_graphdef, stacked_shapes = nnx.split(abstract(stacked, **dtypes))
    draw = jitted(lambda key: nnx.state(_make(stacked, param_dtype, compute_dtype, key)), stacked_shapes)
    if config.layer_loop == "scan":
        return stacked_graphdef, draw
    graphdef, shapes = nnx.split(abstract(config, **dtypes))
    # One small program for all layers, and one layer's copy at a time.
    layer_of = jitted(params_of_layer, shapes["blocks"][0])

    def draw_apart(key: Array) -> nnx.State:
        model = nnx.merge(stacked_graphdef, draw(key))
        model.blocks = unstacked(model.blocks, layer_of)
        return nnx.state(model)

    return graphdef, draw_apart


def abstract(config: ModelConfig, *, param_dtype: DTypeLike, compute_dtype: DTypeLike) -> Model:
    """The same model with `jax.ShapeDtypeStruct`s for parameters; nothing is allocated."""
    return nnx.eval_shape(partial(_make, config, param_dtype, compute_dtype, jax.random.key(0)))


def _make(config: ModelConfig, param_dtype: DTypeLike, compute_dtype: DTypeLike, key: Array) -> Model:
    family = FAMILIES[config.family]
    return family(config, param_dtype=param_dtype, compute_dtype=compute_dtype, rngs=nnx.Rngs(key))
