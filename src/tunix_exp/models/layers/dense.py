"""Products with weights: parameters live in one dtype, and are cast to another at use."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tunix_exp.models.layers.quantized import dequantized, quantized_product

# What a product with weights is called where a remat policy chooses what to save.
PRODUCT = "product"


def as_last_axis(values_D: Array, like: Array) -> Array:
    """`values_D` with as many axes as `like`, all but the last of size one: rank is promoted in the open."""
    return values_D.reshape((1,) * (like.ndim - 1) + values_D.shape)


class Begin(NamedTuple):
    """How a parameter begins: normal values, or with no deviation the mean itself."""

    mean: float
    std: float


def parameter(shape: tuple[int, ...], dtype: DTypeLike, *, mean: float = 0.0, std: float = 0.0) -> nnx.Param:
    """A parameter that holds its mean until architecture.build draws it."""
    return nnx.Param(jnp.full(shape, mean, dtype), begin=Begin(mean, std))


@jax.custom_vjp
def product(x_BTI: Float[Array, "B T I"], kernel_IO: Float[Array, "I O"]) -> Float[Array, "B T O"]:
    """`x·kernel`."""
    return jax.lax.dot_general(x_BTI, kernel_IO, (((2,), (0,)), ((), ())))


def _product_fwd(x_BTI: Array, kernel_IO: Array) -> tuple[Array, tuple[Array, Array]]:
    return product(x_BTI, kernel_IO), (x_BTI, kernel_IO)


def _product_bwd(saved: tuple[Array, Array], y_BTO: Array) -> tuple[Array, Array]:
    x_BTI, kernel_IO = saved
    x_BTI, y_BTO = jax.lax.optimization_barrier((x_BTI, y_BTO))
    return (
        jax.lax.dot_general(y_BTO, kernel_IO, (((2,), (1,)), ((), ()))),
        tall_product(x_BTI, y_BTO),
    )


def tall_product(x_BTI: Float[Array, "B T I"], y_BTO: Float[Array, "B T O"]) -> Float[Array, "I O"]:
    """`xᵀ·y` over all tokens. With two axes to sum over, XLA would write down a transposed `x` first."""
    x_NI, y_NO = x_BTI.reshape(-1, x_BTI.shape[-1]), y_BTO.reshape(-1, y_BTO.shape[-1])
    return jax.lax.dot_general(x_NI, y_NO, (((0,), (0,)), ((), ())))


product.defvjp(_product_fwd, _product_bwd)


class Scales(nnx.Param):
    """The scales of a quantized kernel; they are never trained."""


class Dense(nnx.Module):
    """`x·kernel`, with a bias or without; the kernel is [inputs, outputs] (as in Hugging Face's Conv1D).

    Where there are scales the kernel's values are codes (`layers/quantized.py`).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        std: float,
        param_dtype: DTypeLike,
        compute_dtype: DTypeLike,
        has_bias: bool = True,
    ) -> None:
        self.kernel = parameter((inputs, outputs), param_dtype, std=std)
        self.bias = parameter((outputs,), param_dtype) if has_bias else None
        self.inputs = inputs
        self.compute_dtype = jnp.dtype(compute_dtype)
        self.scales: Scales | None = nnx.data(None)  # set by models/quantize.py
        self.lora: Callable[[Array], Array] | None = nnx.data(None)  # set by models/lora.py

    def __call__(self, x_BTI: Float[Array, "B T I"]) -> Float[Array, "B T O"]:
        """The affine image, in the compute dtype, and what an adapter adds to it."""
        if self.scales is None:
            kernel_IO = self.kernel[...].astype(self.compute_dtype)
            y_BTO = product(x_BTI.astype(self.compute_dtype), kernel_IO)
        else:
            y_BTO = quantized_product(x_BTI.astype(self.compute_dtype), self.kernel[...], self.scales[...])
        y_BTO = checkpoint_name(y_BTO, PRODUCT)
        if self.bias is not None:
            y_BTO = y_BTO + as_last_axis(self.bias[...].astype(self.compute_dtype), y_BTO)
        return y_BTO if self.lora is None else y_BTO + self.lora(x_BTI)

    def weights(self, dtype: DTypeLike) -> Float[Array, "*L I O"]:
        """The kernel or, of stacked layers, all; as it is held, or what its codes stand for in `dtype`."""
        if self.scales is None:
            return self.kernel[...]
        return dequantized(self.kernel[...], self.scales[...], dtype)
