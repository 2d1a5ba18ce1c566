"""Low-rank adaptation (Hu et al. 2021): two narrow matrices beside a frozen kernel.

Two more axis letters: R, the adapter's rank, and C, the words of a random key.
"""

from collections.abc import Iterator
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, UInt32

from tunix_exp.models.adapter import AdapterConfig, LoRAConfig, NoAdapterConfig, layers_of, targeted
from tunix_exp.models.layers.dense import Dense
from tunix_exp.models.paths import Place, place_of
from tunix_exp.models.sharding import spec_of

ModelT = TypeVar("ModelT")

# Folded into the seed, as the seed itself draws the model: one for the adapter's values, one for dropout.
_VALUES, _DROPOUT = 1, 2


class LoRAParam(nnx.Param):
    """A parameter of an adapter: trained, while all others are frozen."""


class RowKeys(nnx.Variable):
    """The random keys, one a row, by which a training step drops inputs; there in a training step alone."""


class LoRA(nnx.Module):
    """`scale·dropout(x)·A·B`: what is learned beside a frozen product. A and B are float32."""

    def __init__(
        self,
        a_IR: Array,
        b_RO: Array,
        *,
        number: int,
        scale: float,
        dropout: float,
        compute_dtype: DTypeLike,
    ) -> None:
        self.a = LoRAParam(a_IR)
        self.b = LoRAParam(b_RO)
        self.keys: RowKeys | None = nnx.data(None)
        self.number = number  # of the layer, among those of its block
        self.scale = scale
        self.dropout = dropout
        self.compute_dtype = jnp.dtype(compute_dtype)

    def __call__(self, x_BTI: Float[Array, "B T I"]) -> Float[Array, "B T O"]:
        """What the adapter adds, in the compute dtype."""
        x_BTI = x_BTI.astype(self.compute_dtype)
        if self.keys is not None:
            x_BTI = dropped(x_BTI, self.keys[...], self.dropout)
        h_BTR = jnp.einsum("bti,ir->btr", x_BTI, self.a[...].astype(self.compute_dtype)) * self.scale
        return jnp.einsum("btr,ro->bto", h_BTR, self.b[...].astype(self.compute_dtype))


def attach(
    model: ModelT, config: AdapterConfig, *, family: str, seed: int, mesh: Mesh | None = None
) -> ModelT:
    """`model` itself, with an adapter beside every layer that `config` targets, split over the mesh.

    It begins as PEFT's does: A uniform within 1/√I (He et al. 2015, with a = √5), drawn from `seed`, and B
    zero, so that the model computes what it did. Equal for both layer loops.
    """
    if isinstance(config, NoAdapterConfig):
        return model
    paths = targeted(family, config.targets).values()
    beside = [place for place in places(model, family) if place.path in paths]
    kinds = tuple((place.full_path, place.number, place.layers, _shape(place.dense)) for place in beside)
    values = _drawing(kinds, config.rank, mesh)(jax.random.key(seed))
    for place, (a_IR, b_RO) in zip(beside, values, strict=True):
        place.dense.lora = LoRA(
            a_IR,
            b_RO,
            number=place.number,
            scale=config.scale,
            dropout=config.dropout,
            compute_dtype=place.dense.compute_dtype,
        )
    return model


def attached_shapes(model: ModelT, config: AdapterConfig, *, family: str) -> ModelT:
    """What `attach` makes of a model of `jax.ShapeDtypeStruct`s; nothing is allocated."""
    if isinstance(config, NoAdapterConfig):
        return model
    return nnx.eval_shape(lambda model: attach(model, config, family=family, seed=0), model)


def split(model: Any) -> tuple[nnx.GraphDef[Any], nnx.State, tuple[nnx.State, ...]]:
    """The model's graph, the parameters that are trained, and those that are frozen: none without an adapter.

    `nnx.merge(graphdef, trained, *frozen)` is the model again.
    """
    if not any(isinstance(node, LoRA) for _, node in nnx.iter_graph(model)):
        return *nnx.split(model), ()
    graphdef, trained, frozen = nnx.split(model, LoRAParam, ...)
    return graphdef, trained, (frozen,)


def merged(model: ModelT, *, dtype: DTypeLike | None = None) -> ModelT:
    """A model without adapters that computes the same: each adapter's product is added to its kernel.

    Such kernels get `dtype`, or keep their own; all other parameters are shared with `model`.
    """
    model = nnx.merge(*nnx.split(model))
    for _, node in nnx.iter_graph(model):
        if isinstance(node, Dense) and isinstance(node.lora, LoRA):
            kernel, lora = node.weights(jnp.float32), node.lora
            sharding = None if isinstance(kernel, Tracer) else node.kernel[...].sharding
            add = _adding(lora.scale, jnp.dtype(dtype or kernel.dtype), sharding)
            node.kernel = cast(nnx.Param, node.kernel.replace(add(kernel, lora.a[...], lora.b[...])))
            node.lora = node.scales = None
    return model


def without_adapters(model: ModelT) -> ModelT:
    """The model with every adapter left out; its parameters are those of `model`."""
    model = nnx.merge(*nnx.split(model))
    for _, node in nnx.iter_graph(model):
        if isinstance(node, Dense) and isinstance(node.lora, LoRA):
            node.lora = None
    return model


def adapters(model: Any) -> dict[str, LoRA]:
    """What stands beside the model's kernels, by their paths; of stacked ones, the stacked paths."""
    return {
        "/".join(map(str, (*keys, "kernel"))): node.lora
        for keys, node in nnx.iter_graph(model)
        if isinstance(node, Dense) and isinstance(node.lora, LoRA)
    }


def merged_kernel(kernel_IO: Array, lora: LoRA, layer: int | None, *, dtype: DTypeLike) -> Array:
    """The kernel with its adapter's product added, that of `layer` where the adapter is stacked."""
    a_IR, b_RO = (half[...] if layer is None else half[...][layer] for half in (lora.a, lora.b))
    return _adding(lora.scale, jnp.dtype(dtype), None)(kernel_IO, a_IR, b_RO)


def own_parameters(model: Any) -> nnx.State:
    """The parameters that are the model's own, those of an adapter left out."""
    _, trained, frozen = split(model)
    return frozen[0] if frozen else trained


def for_evaluation(model: ModelT, config: AdapterConfig) -> ModelT:
    """The model as it answers: with its adapter, or merged where `config` says so.

    A merged kernel is float32 then, so that no rounding tells the two apart.
    """
    is_merged = isinstance(config, LoRAConfig) and config.merge_for_eval
    return merged(model, dtype=jnp.float32) if is_merged else model


def drop(model: Any, key: Array, rows_B: Int[Array, " B"]) -> None:
    """`model`'s adapters drop inputs from now on, in the rows of a batch whose numbers are `rows_B`.

    What is dropped depends on the key, the layer and the row's number: on no layer loop, no split of the
    batch and no mesh.
    """
    key = jax.random.fold_in(key, _DROPOUT)

    def row_keys(number: int, layer: Array | int) -> UInt32[Array, "B C"]:
        of_layer = jax.random.fold_in(jax.random.fold_in(key, number), layer)
        return jax.vmap(lambda row: jax.random.key_data(jax.random.fold_in(of_layer, row)))(rows_B)

    for keys, node in nnx.iter_graph(model):
        if isinstance(node, LoRA) and node.dropout > 0:
            place = _block_place(keys)
            if place.step is None:
                node.keys = RowKeys(row_keys(node.number, place.first))
            else:
                layers_L = _as_array(place.layers(node.a.shape[0]))
                node.keys = RowKeys(jax.vmap(lambda layer, n=node.number: row_keys(n, layer))(layers_L))


def dropped(
    x_BTI: Float[Array, "B T I"], keys_BC: UInt32[Array, "B C"], rate: float
) -> Float[Array, "B T I"]:
    """`x_BTI` with each number zero by the chance `rate`, else as much larger as keeps its expectation."""

    def kept(key_C: Array) -> Array:
        return jax.random.bernoulli(jax.random.wrap_key_data(key_C), 1 - rate, x_BTI.shape[1:])

    return jnp.where(jax.vmap(kept)(keys_BC), x_BTI / (1 - rate), 0)


class _Place(NamedTuple):
    """A layer that an adapter may stand beside: its path in the model and in its block, its number among
    those of a block, and which block (several, where they are stacked).
    """

    full_path: str
    path: str
    number: int
    layers: int | range
    dense: Dense


def places(model: Any, family: str) -> Iterator[_Place]:
    """Every product of the blocks that an adapter may stand beside."""
    known = list(layers_of(family).values())
    for keys, node in nnx.iter_graph(model):
        if isinstance(node, Dense):
            place = _block_place(keys)
            layers = place.first if place.step is None else place.layers(node.kernel.shape[0])
            yield _Place("/".join(map(str, keys)), place.within, known.index(place.within), layers, node)


def _shape(dense: Dense) -> tuple[int, ...]:
    """The shape of the kernel, whose codes may be fewer."""
    *lead, _, outputs = dense.kernel.shape
    return (*lead, dense.inputs, outputs)


def _block_place(keys: tuple[Any, ...]) -> Place:
    place = place_of("/".join(map(str, keys)))
    assert place is not None, f"a product outside the blocks: {keys}"
    return place


def _as_array(layers: range) -> Int[Array, " L"]:
    return jnp.arange(layers.stop)[layers.start :: layers.step]


@cache
def _drawing(
    kinds: tuple[tuple[str, int, int | range, tuple[int, ...]], ...], rank: int, mesh: Mesh | None
) -> Any:
    """The jitted draw of all A and B; one compilation for all seeds of a process.

    The keys of all layers are folded at once, and the As of one shape are drawn at once: a generator takes
    longer to compile than a block, and an adapter may stand beside hundreds of layers.
    """
    layers = [layers if isinstance(layers, range) else range(layers, layers + 1) for _, _, layers, _ in kinds]
    numbers_P = np.array([kind[1] for kind, of in zip(kinds, layers, strict=True) for _ in of], np.uint32)
    layers_P = np.array([layer for of in layers for layer in of], np.uint32)
    inputs_P = np.array([kind[3][-2] for kind, of in zip(kinds, layers, strict=True) for _ in of])

    def draw(key: Array) -> list[tuple[Array, Array]]:
        key, fold = jax.random.fold_in(key, _VALUES), jax.random.fold_in
        keys_P = jax.vmap(lambda number, layer: fold(fold(key, number), layer))(numbers_P, layers_P)
        a_KIR = {
            inputs: jax.vmap(
                partial(jax.random.uniform, shape=(inputs, rank), minval=-(inputs**-0.5), maxval=inputs**-0.5)
            )(keys_P[inputs_P == inputs])
            for inputs in dict.fromkeys(inputs_P.tolist())
        }
        drawn, taken = [], dict.fromkeys(a_KIR, 0)
        for (_, _, numbered, (*_, inputs, outputs)), of in zip(kinds, layers, strict=True):
            first = taken[inputs]
            taken[inputs] += len(of)
            a = a_KIR[inputs][first : taken[inputs]] if isinstance(numbered, range) else a_KIR[inputs][first]
            drawn.append((a, jnp.zeros((*a.shape[:-2], rank, outputs), jnp.float32)))
        return drawn

    placed = None
    if mesh is not None:
        shapes = jax.eval_shape(draw, jax.random.key(0))
        placed = [
            tuple(
                NamedSharding(mesh, spec_of(f"{kind[0]}/lora/{name}", part.shape, mesh))
                for name, part in zip("ab", parts, strict=True)
            )
            for kind, parts in zip(kinds, shapes, strict=True)
        ]
    return jax.jit(draw, out_shardings=placed)


@cache
def _adding(scale: float, dtype: Any, sharding: Any) -> Any:
    """The jitted sum of a kernel and its adapter's product, in float32 up to the last rounding."""

    def add(kernel_IO: Array, a_IR: Array, b_RO: Array) -> Array:
        delta_IO = jnp.einsum("...ir,...ro->...io", a_IR, b_RO, precision="highest") * scale
        return (kernel_IO.astype(jnp.float32) + delta_IO).astype(dtype)

    return jax.jit(add, out_shardings=sharding)
