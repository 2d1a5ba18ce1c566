"""A frozen model whose products are held in eight or four bits; tables, norms and biases are as stored."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.typing import DTypeLike

from tunix_exp.errors import UserError
from tunix_exp.models import lora
from tunix_exp.models.config import ModelConfig
from tunix_exp.models.hosts import put
from tunix_exp.models.layers.dense import Dense, Scales
from tunix_exp.models.layers.quantized import Quantization, group_of, quantized
from tunix_exp.models.paths import is_stacked
from tunix_exp.models.sharding import spec_of

ModelT = TypeVar("ModelT")

_LEAST_GROUP = 16

# The codes of the parameter at a path, out of its layers' kernels; None where it is to stay as it is.
Codes = Callable[[str, Iterator[np.ndarray]], jax.Array | None]


def no_codes(path: str, layers: Iterator[np.ndarray]) -> None:
    """Every parameter stays as it is."""


def quantized_shapes(model: ModelT, config: ModelConfig) -> ModelT:
    """What a model of `jax.ShapeDtypeStruct`s is when it is quantized as `config` says."""
    if config.quantize is None:
        return model
    kind: Quantization = config.quantize

    def quantize(model: Any) -> Any:
        for place in lora.places(model, config.family):
            codes, scales = quantized(place.dense.kernel[...], kind)
            place.dense.kernel = cast(nnx.Param, place.dense.kernel.replace(codes))
            place.dense.scales = Scales(scales)
        return model

    _check(model, config)
    return nnx.eval_shape(quantize, model)


def dequantize(model: Any, dtype: DTypeLike) -> None:
    """`model` holds what its codes stand for."""
    for _, node in nnx.iter_graph(model):
        if isinstance(node, Dense) and node.scales is not None:
            node.kernel = cast(nnx.Param, node.kernel.replace(node.weights(dtype)))
            node.scales = None


class Quantizer:
    """Quantizes a model while it is loaded, one layer's kernel at a time."""

    def __init__(self, shapes: Any, config: ModelConfig, mesh: Mesh | None) -> None:
        self._kind = config.quantize
        self._family, self._mesh = config.family, mesh
        self._scales: dict[str, jax.Array] = {}
        self._paths: set[str] = set()
        if config.quantize is not None:
            _check(shapes, config)
            self._paths = {f"{place.full_path}/kernel" for place in lora.places(shapes, config.family)}

    def codes(self, path: str, layers: Iterator[np.ndarray]) -> jax.Array | None:
        """The codes of the parameter at `path`; its scales are kept for `finish`."""
        if path not in self._paths:
            return None
        assert self._kind is not None
        parts = [_quantizing(self._kind)(layer) for layer in layers]
        codes, scales = (
            self._placed(path, jnp.stack(part) if is_stacked(path) else part[0])
            for part in zip(*parts, strict=True)
        )
        self._scales[path] = scales
        return codes

    def finish(self, model: Any) -> None:
        """`model`, whose kernels are codes, has their scales."""
        if self._paths:
            for place in lora.places(model, self._family):
                place.dense.scales = Scales(self._scales.pop(f"{place.full_path}/kernel"))

    def _placed(self, path: str, values: jax.Array) -> jax.Array:
        if self._mesh is None:
            return values
        return put(values, NamedSharding(self._mesh, spec_of(path, values.shape, self._mesh)))


@cache
def _quantizing(kind: Quantization) -> Any:
    return jax.jit(lambda kernel_IO: quantized(kernel_IO, kind))


def _check(model: Any, config: ModelConfig) -> None:
    """Every kernel's inputs are whole groups of a useful size; else UserError."""
    odd = {place.path: place.dense.inputs for place in lora.places(model, config.family)}
    odd = {path: inputs for path, inputs in odd.items() if group_of(inputs) < _LEAST_GROUP}
    if odd:
        told = ", ".join(f"{path} has {inputs}" for path, inputs in odd.items())
        raise UserError(
            f"model.quantize={config.quantize} gives groups of inputs a scale, and needs a multiple of"
            f" {_LEAST_GROUP} (64 is best): {told}",
            where="model.quantize",
            remedy="set model.quantize=null, or change the model's widths",
        )
