"""Norms over the last axis, computed in float32."""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tunix_exp.models.layers.dense import as_last_axis, parameter


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
    """Unit mean square over the last axis, times `offset` plus the scale; all of it in float32.

    It begins as a product with one: families differ in whether the scale is stored as its distance from one.
    """

    def __init__(
        self,
        width: int,
        *,
        epsilon: float,
        offset: Literal[0, 1],
        param_dtype: DTypeLike,
        compute_dtype: DTypeLike,
    ) -> None:
        self.scale = parameter((width,), param_dtype, mean=1.0 - offset)
        self.epsilon = epsilon
        self.offset = offset
        self.compute_dtype = jnp.dtype(compute_dtype)

    def __call__(self, x_D: Float[Array, "... D"]) -> Float[Array, "... D"]:
        """The normalised `x_D`, in the compute dtype."""
        x_D = x_D.astype(jnp.float32)
        y_D = x_D * jax.lax.rsqrt(jnp.square(x_D).mean(axis=-1, keepdims=True) + self.epsilon)
        scale_D = as_last_axis(self.scale[...].astype(jnp.float32), y_D)
        return (y_D * (self.offset + scale_D if self.offset else scale_D)).astype(self.compute_dtype)
