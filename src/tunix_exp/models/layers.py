"""The small parts: parameters live in one dtype, are cast to another at use."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

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


class Dense(nnx.Module):
    """`x·kernel`, with a bias or without; the kernel is [inputs, outputs] (as in Hugging Face's Conv1D)."""

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
        self.compute_dtype = jnp.dtype(compute_dtype)
        self.lora: Callable[[Array], Array] | None = nnx.data(None)  # set by models/lora.py

    def __call__(self, x_BTI: Float[Array, "B T I"]) -> Float[Array, "B T O"]:
        """The affine image, in the compute dtype, and what an adapter adds to it."""
        kernel_IO = self.kernel[...].astype(self.compute_dtype)
        y_BTO = checkpoint_name(product(x_BTI.astype(self.compute_dtype), kernel_IO), PRODUCT)
        if self.bias is not None:
            y_BTO = y_BTO + as_last_axis(self.bias[...].astype(self.compute_dtype), y_BTO)
        return y_BTO if self.lora is None else y_BTO + self.lora(x_BTI)


# Twice the argument of gelu's tanh is x·(_LINEAR + _CUBIC·x²) (Hendrycks & Gimpel 2016).
_LINEAR = 2 * math.sqrt(2 / math.pi)
_CUBIC = _LINEAR * 0.044715


@jax.custom_vjp
def gelu(x_BTF: Float[Array, "B T F"]) -> Float[Array, "B T F"]:
    """The tanh form of gelu, with ½(1 + tanh u) written as 1 / (1 + exp -2u).

    Its last operation is a division, which XLA computes once where it would repeat a product for every
    reader, in the transposed one slowly; and nothing but `x_BTF` is kept for the backward pass.
    """
    return x_BTF / _gate(x_BTF)


def _gelu_bwd(x_BTF: Array, dy_BTF: Array) -> tuple[Array]:
    return (dy_BTF * _slope(jax.lax.optimization_barrier(x_BTF)),)


gelu.defvjp(lambda x_BTF: (gelu(x_BTF), x_BTF), _gelu_bwd)


@jax.custom_vjp
def gated_gelu(gate_BTF: Float[Array, "B T F"], up_BTF: Float[Array, "B T F"]) -> Float[Array, "B T F"]:
    """`gelu(gate)·up`, computed as `gelu` is."""
    return gate_BTF * up_BTF / _gate(gate_BTF)


def _gated_gelu_bwd(saved: tuple[Array, Array], dy_BTF: Array) -> tuple[Array, Array]:
    gate_BTF, up_BTF = jax.lax.optimization_barrier(saved)
    return dy_BTF * up_BTF * _slope(gate_BTF), dy_BTF * gate_BTF / _gate(gate_BTF)


gated_gelu.defvjp(lambda *operands: (gated_gelu(*operands), operands), _gated_gelu_bwd)


def _gate(x_BTF: Array) -> Array:
    return 1 + jnp.exp(-x_BTF * (_LINEAR + _CUBIC * jnp.square(x_BTF)))


def _slope(x_BTF: Array) -> Array:
    """The derivative of gelu."""
    open_BTF = 1 / _gate(x_BTF)
    return open_BTF * (1 + x_BTF * (1 - open_BTF) * (_LINEAR + 3 * _CUBIC * jnp.square(x_BTF)))


class LayerNorm(nnx.Module):
    """Zero mean and unit variance over the width, then scale and bias; all of it in float32."""

    def __init__(
        self, width: int, *, epsilon: float, param_dtype: DTypeLike, compute_dtype: DTypeLike
    ) -> None:
        self.scale = parameter((width,), param_dtype, mean=1.0)
        self.bias = parameter((width,), param_dtype)
        self.epsilon = epsilon
        self.compute_dtype = jnp.dtype(compute_dtype)

    def __call__(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """The normalised `x_BTD`, in the compute dtype."""
        y_BTD: Array = _layer_norm(self.epsilon, x_BTD, self.scale[...], self.bias[...])
        return y_BTD.astype(self.compute_dtype)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _layer_norm(epsilon: float, x_BTD: Array, scale_D: Array, bias_D: Array) -> Array:
    return _layer_norm_fwd(epsilon, x_BTD, scale_D, bias_D)[0]


def _layer_norm_fwd(epsilon: float, x_BTD: Array, scale_D: Array, bias_D: Array) -> tuple[Array, Any]:
    mean_BT1 = x_BTD.astype(jnp.float32).mean(axis=-1, keepdims=True)
    centred_BTD = x_BTD.astype(jnp.float32) - mean_BT1
    rate_BT1 = jax.lax.rsqrt(jnp.square(centred_BTD).mean(axis=-1, keepdims=True) + epsilon)
    scale_11D, bias_11D = (as_last_axis(p_D.astype(jnp.float32), x_BTD) for p_D in (scale_D, bias_D))
    return centred_BTD * rate_BT1 * scale_11D + bias_11D, (x_BTD, scale_D, bias_D, mean_BT1, rate_BT1)


def _layer_norm_bwd(epsilon: float, saved: Any, dy_BTD: Array) -> tuple[Array, Array, Array]:
    """The input and two numbers a token are all that is kept (Ba et al. 2016, appendix)."""
    x_BTD, scale_D, bias_D, mean_BT1, rate_BT1 = saved
    unit_BTD = (x_BTD.astype(jnp.float32) - mean_BT1) * rate_BT1
    dunit_BTD = dy_BTD * as_last_axis(scale_D.astype(jnp.float32), x_BTD)
    along_BT1 = (dunit_BTD * unit_BTD).mean(axis=-1, keepdims=True)
    dx_BTD = rate_BT1 * (dunit_BTD - dunit_BTD.mean(axis=-1, keepdims=True) - unit_BTD * along_BT1)
    dscale_D, dbias_D = (dy_BTD * unit_BTD).sum(axis=(0, 1)), dy_BTD.sum(axis=(0, 1))
    return dx_BTD.astype(x_BTD.dtype), dscale_D.astype(scale_D.dtype), dbias_D.astype(bias_D.dtype)


_layer_norm.defvjp(_layer_norm_fwd, _layer_norm_bwd)


class RMSNorm(nnx.Module):
    """Unit mean square over the last axis, times one plus the scale; all of it in float32."""

    def __init__(
        self, width: int, *, epsilon: float, param_dtype: DTypeLike, compute_dtype: DTypeLike
    ) -> None:
        self.scale = parameter((width,), param_dtype)
        self.epsilon = epsilon
        self.compute_dtype = jnp.dtype(compute_dtype)

    def __call__(self, x_D: Float[Array, "... D"]) -> Float[Array, "... D"]:
        """The normalised `x_D`, in the compute dtype."""
        x_D = x_D.astype(jnp.float32)
        y_D = x_D * jax.lax.rsqrt(jnp.square(x_D).mean(axis=-1, keepdims=True) + self.epsilon)
        scale_D = as_last_axis(self.scale[...].astype(jnp.float32), y_D)
        return (y_D * (1 + scale_D)).astype(self.compute_dtype)


class Embedding(nnx.Module):
    """A table of vectors, read by index."""

    def __init__(
        self, rows: int, width: int, *, std: float, param_dtype: DTypeLike, compute_dtype: DTypeLike
    ) -> None:
        self.embedding = parameter((rows, width), param_dtype, std=std)
        self.compute_dtype = jnp.dtype(compute_dtype)

    def __call__(self, index_BT: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        """The rows at `index_BT`, in the compute dtype; an index outside the table takes the nearest row."""
        return self.read(index_BT)[0]

    def read(self, index_BT: Int[Array, "B T"]) -> tuple[Float[Array, "B T D"], Float[Array, "V D"]]:
        """The rows at `index_BT`, and the table for its next reader, onto whose gradient theirs is added."""
        x_BTD, table_VD = _looked_up(self.embedding[...], index_BT)
        return x_BTD.astype(self.compute_dtype), table_VD


@jax.custom_vjp
def _looked_up(table_VD: Array, index_BT: Array) -> tuple[Array, Array]:
    return table_VD.at[index_BT].get(mode="clip"), table_VD


def _looked_up_fwd(table_VD: Array, index_BT: Array) -> tuple[tuple[Array, Array], Array]:
    return _looked_up(table_VD, index_BT), index_BT


def _looked_up_bwd(index_BT: Array, gradients: tuple[Array, Array]) -> tuple[Array, None]:
    """The rows' gradients added in place: a table of their own, mostly zeros, would be as large again."""
    dx_BTD, dtable_VD = gradients
    return dtable_VD.at[index_BT].add(dx_BTD.astype(dtable_VD.dtype), mode="clip"), None


_looked_up.defvjp(_looked_up_fwd, _looked_up_bwd)


@dataclass(frozen=True)
class Unembedding:
    """From the stream to scores over the vocabulary, by a table that the model ties to its embedding."""

    compute_dtype: np.dtype
    soft_cap: float | None = None

    def logits(self, x_D: Float[Array, "... D"], table_VD: Float[Array, "V D"]) -> Float[Array, "... V"]:
        """The scores, float32."""
        return self.capped(self.product(x_D, table_VD))

    def product(self, x_D: Float[Array, "... D"], table_VD: Float[Array, "V D"]) -> Float[Array, "... V"]:
        """The product of `x_D` with every row of the table, summed and kept in float32."""
        return jnp.einsum(
            "...d,vd->...v",
            x_D.astype(self.compute_dtype),
            table_VD.astype(self.compute_dtype),
            preferred_element_type=jnp.float32,
        )

    def capped(self, logits_V: Float[Array, "... V"]) -> Float[Array, "... V"]:
        """The logits kept within the soft cap, where there is one."""
        if self.soft_cap is None:
            return logits_V
        return jnp.tanh(logits_V / self.soft_cap) * self.soft_cap
