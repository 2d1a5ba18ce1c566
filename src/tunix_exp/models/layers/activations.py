"""Activations whose gradients XLA computes from their input alone."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

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


@jax.custom_vjp
def gated_silu(gate_BTF: Float[Array, "B T F"], up_BTF: Float[Array, "B T F"]) -> Float[Array, "B T F"]:
    """`silu(gate)·up` (Shazeer 2020), with the sigmoid as the last division."""
    return gate_BTF * up_BTF / (1 + jnp.exp(-gate_BTF))


def _gated_silu_bwd(saved: tuple[Array, Array], dy_BTF: Array) -> tuple[Array, Array]:
    gate_BTF, up_BTF = jax.lax.optimization_barrier(saved)
    open_BTF = 1 / (1 + jnp.exp(-gate_BTF))
    slope_BTF = open_BTF * (1 + gate_BTF * (1 - open_BTF))
    return dy_BTF * up_BTF * slope_BTF, dy_BTF * gate_BTF * open_BTF


gated_silu.defvjp(lambda *operands: (gated_silu(*operands), operands), _gated_silu_bwd)
