"""The small parts: parameters live in one dtype, are cast to another at use."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int


def as_last_axis(values_D: Array, like: Array) -> Array:
    """`values_D` with as many axes as `like`, all but the last of size one: rank is promoted in the open."""
    return values_D.reshape((1,) * (like.ndim - 1) + values_D.shape)


def normal(key: Array, shape: tuple[int, ...], std: float, dtype: DTypeLike) -> Array:
    """Normal values of standard deviation `std`, drawn in float32 whatever `dtype` they are kept in."""
    return (jax.random.normal(key, shape, jnp.float32) * std).astype(dtype)


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
        rngs: nnx.Rngs,
        has_bias: bool = True,
    ) -> None:
        self.kernel = nnx.Param(normal(rngs.params(), (inputs, outputs), std, param_dtype))
        self.bias = nnx.Param(jnp.zeros((outputs,), param_dtype)) if has_bias else None
        self.compute_dtype = jnp.dtype(compute_dtype)

    def __call__(self, x_BTI: Float[Array, "B T I"]) -> Float[Array, "B T O"]:
        """The affine image, in the compute dtype."""
        kernel_IO = self.kernel[...].astype(self.compute_dtype)
        y_BTO = jnp.einsum("bti,io->bto", x_BTI.astype(self.compute_dtype), kernel_IO)
        if self.bias is None:
            return y_BTO
        return y_BTO + as_last_axis(self.bias[...].astype(self.compute_dtype), y_BTO)


class LayerNorm(nnx.Module):
    """Zero mean and unit variance over the width, then scale and bias; all of it in float32."""

    def __init__(
        self, width: int, *, epsilon: float, param_dtype: DTypeLike, compute_dtype: DTypeLike
    ) -> None:
        self.scale = nnx.Param(jnp.ones((width,), param_dtype))
        self.bias = nnx.Param(jnp.zeros((width,), param_dtype))
        self.epsilon = epsilon
        self.compute_dtype = jnp.dtype(compute_dtype)

    def __call__(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """The normalised `x_BTD`, in the compute dtype."""
        x_BTD = x_BTD.astype(jnp.float32)
        centred_BTD = x_BTD - x_BTD.mean(axis=-1, keepdims=True)
        variance_BT1 = jnp.square(centred_BTD).mean(axis=-1, keepdims=True)
        y_BTD = centred_BTD * jax.lax.rsqrt(variance_BT1 + self.epsilon)
        scale_11D = as_last_axis(self.scale[...].astype(jnp.float32), y_BTD)
        bias_11D = as_last_axis(self.bias[...].astype(jnp.float32), y_BTD)
        return (y_BTD * scale_11D + bias_11D).astype(self.compute_dtype)


class RMSNorm(nnx.Module):
    """Unit mean square over the last axis, times one plus the scale; all of it in float32."""

    def __init__(
        self, width: int, *, epsilon: float, param_dtype: DTypeLike, compute_dtype: DTypeLike
    ) -> None:
        self.scale = nnx.Param(jnp.zeros((width,), param_dtype))
        self.epsilon = epsilon
        self.compute_dtype = jnp.dtype(compute_dtype)

    def __call__(self, x_D: Float[Array, "... D"]) -> Float[Array, "... D"]:
        """The normalised `x_D`, in the compute dtype."""
        x_D = x_D.astype(jnp.float32)
        y_D = x_D * jax.lax.rsqrt(jnp.square(x_D).mean(axis=-1, keepdims=True) + self.epsilon)
        scale_D = as_last_axis(self.scale[...].astype(jnp.float32), y_D)
        return (y_D * (1 + scale_D)).astype(self.compute_dtype)


class Embedding(nnx.Module):
    """A table of vectors, read by index; a tied one also turns a vector into logits over its rows."""

    def __init__(
        self,
        rows: int,
        width: int,
        *,
        std: float,
        param_dtype: DTypeLike,
        compute_dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        self.embedding = nnx.Param(normal(rngs.params(), (rows, width), std, param_dtype))
        self.compute_dtype = jnp.dtype(compute_dtype)

    def __call__(self, index_BT: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        """The rows at `index_BT`, in the compute dtype; an index outside the table takes the nearest row."""
        return self.embedding[...].at[index_BT].get(mode="clip").astype(self.compute_dtype)

    def logits(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """The product of `x_BTD` with every row, summed and kept in float32."""
        table_VD = self.embedding[...].astype(self.compute_dtype)
        return jnp.einsum(
            "btd,vd->btv",
            x_BTD.astype(self.compute_dtype),
            table_VD,
            preferred_element_type=jnp.float32,
        )
