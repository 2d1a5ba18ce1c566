"""From a model config to a model: drawn at random, or as shapes alone."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from tunix_exp.models.config import ModelConfig
from tunix_exp.models.families.registry import family_of
from tunix_exp.models.hosts import is_of_several, put
from tunix_exp.models.kernels import Kernel
from tunix_exp.models.layers.cache import Cache, Room
from tunix_exp.models.layers.decoder import Decoder
from tunix_exp.models.layers.dense import Begin
from tunix_exp.models.layers.embedding import Unembedding
from tunix_exp.models.layers.stack import LayerLoop
from tunix_exp.models.loss_chunk import LossChunk
from tunix_exp.models.paths import is_stacked, layer_paths, path_of
from tunix_exp.models.quantize import Codes, no_codes
from tunix_exp.models.sharding import shardings


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
    loss_chunk: LossChunk

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
        """The stream before the first block, and the table that gives the logits."""
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


_PIECE = 2**16


def build(
    config: ModelConfig,
    *,
    param_dtype: DTypeLike,
    compute_dtype: DTypeLike,
    seed: int,
    mesh: jax.sharding.Mesh | None = None,
    codes: Codes = no_codes,
) -> Decoder:
    """A model whose parameters are drawn from `seed`, over the mesh, in another form where `codes` makes one.

    Each layer's parameter has a stream of random numbers of its own, named by its path, and is drawn on the
    host in float32, so that no device, mesh or layer loop changes a value and nothing is compiled.
    """
    graphdef, shapes = nnx.split(abstract(config, param_dtype=param_dtype, compute_dtype=compute_dtype))
    flat, treedef = jax.tree_util.tree_flatten_with_path(shapes, is_leaf=_is_param)
    where = jax.tree.leaves(shardings(shapes, mesh)) if mesh is not None else [None] * len(flat)

    def drawn(leaf: tuple[Any, nnx.Param], sharding: Any) -> nnx.Variable:
        keys, param = leaf
        path = path_of(keys)
        values = initial(path, param.shape, param.get_metadata("begin"), seed=seed)
        values = values.astype(param.dtype, copy=False)
        made = codes(path, iter(values if is_stacked(path) else [values]))
        return param.replace(_on_devices(values, sharding) if made is None else made)

    # NumPy draws without Python's lock: every core its parameter.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return nnx.merge(graphdef, jax.tree.unflatten(treedef, pool.map(drawn, flat, where)))


def _on_devices(values: np.ndarray, where: Any) -> jax.Array:
    if is_of_several(where):
        return put(values, where).copy()
    return jax.device_put(values, where, may_alias=False)


def _is_param(leaf: Any) -> bool:
    return isinstance(leaf, nnx.Param)


def initial(path: str, shape: tuple[int, ...], begin: Begin, *, seed: int) -> np.ndarray:
    """The float32 values that the parameter at `path` begins with; a stacked one has its layers' streams."""
    if begin.std == 0:
        return np.full(shape, begin.mean, np.float32)
    values = np.empty(shape, np.float32)
    parts = zip(layer_paths(path, shape[0]), values, strict=True) if is_stacked(path) else [(path, values)]
    for name, part in parts:
        key = np.random.SeedSequence(seed, spawn_key=tuple(name.encode()))
        stream, flat = np.random.Generator(np.random.SFC64(key)), part.reshape(-1)
        # Pieces that a core's cache holds until they are scaled.
        for first in range(0, flat.size, _PIECE):
            piece = flat[first : first + _PIECE]
            stream.standard_normal(dtype=np.float32, out=piece)
            np.multiply(piece, np.float32(begin.std), out=piece)
            np.add(piece, np.float32(begin.mean), out=piece)
    return values


def abstract(config: ModelConfig, *, param_dtype: DTypeLike, compute_dtype: DTypeLike) -> Decoder:
    """The same model with `jax.ShapeDtypeStruct`s for parameters; nothing is allocated."""
    decoder = family_of(config).decoder
    return nnx.eval_shape(partial(decoder, config, param_dtype=param_dtype, compute_dtype=compute_dtype))
