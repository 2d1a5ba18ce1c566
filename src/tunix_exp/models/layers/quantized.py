"""Kernels in eight or four bits: a code for each weight, and a scale for each group of inputs of an output.

`int8` rounds to 255 even levels within a group's largest magnitude; `nf4` takes the nearest of 16 levels,
quantiles of a normal distribution (QLoRA, Dettmers et al. 2023, appendix E), two codes to a byte. Two more
axis letters: G, groups of inputs, and P, inputs of a group; the first half of them are a byte's low bits.
"""

import math
from itertools import pairwise
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tunix_exp.models.sharding import is_whole

Quantization = Literal["int8", "nf4"]

GROUP = 64
NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)  # fmt: skip


def group_of(inputs: int) -> int:
    """How many inputs share a scale: 64, or what of it divides them."""
    return math.gcd(inputs, GROUP)


def quantized(kernel_IO: Float[Array, "*L I O"], kind: Quantization) -> tuple[Array, Array]:
    """Codes of a kernel or of several that are stacked, [I, O] int8 or [I/2, O] uint8; and float32 scales."""
    *lead, inputs, outputs = kernel_IO.shape
    group = group_of(inputs)
    weights_GPO = kernel_IO.astype(jnp.float32).reshape(*lead, -1, group, outputs)
    largest_GO = jnp.max(jnp.abs(weights_GPO), axis=-2)
    divisor_GO = jnp.where(largest_GO == 0, 1.0, largest_GO)
    if kind == "int8":
        codes_GPO = jnp.round(weights_GPO / divisor_GO[..., None, :] * 127).astype(jnp.int8)
        return codes_GPO.reshape(kernel_IO.shape), largest_GO / 127
    units_GPO = weights_GPO / divisor_GO[..., None, :]
    middles = [(low + high) / 2 for low, high in pairwise(NF4)]
    codes_GPO = sum((units_GPO > middle).astype(jnp.uint8) for middle in middles)
    low, high = jnp.split(jnp.asarray(codes_GPO), 2, axis=-2)
    return (low | high << 4).reshape(*lead, inputs // 2, outputs), largest_GO


def dequantized(
    codes_IO: Array, scales_GO: Float[Array, "*L G O"], dtype: DTypeLike, one: Array | float = 1.0
) -> Float[Array, "*L I O"]:
    """The kernel that codes and scales stand for, rounded once; `one` is what it waits for, a factor."""
    *lead, groups, outputs = scales_GO.shape
    codes_GPO = codes_IO.reshape(*lead, groups, -1, outputs)
    if codes_IO.dtype == jnp.uint8:
        units_GPO = jnp.concatenate([_level(codes_GPO & 15, one), _level(codes_GPO >> 4, one)], axis=-2)
    else:
        units_GPO = codes_GPO.astype(jnp.float32) * one
    return (units_GPO * scales_GO[..., None, :]).astype(dtype).reshape(*lead, -1, outputs)


def _level(codes: Array, one: Array | float) -> Array:
    """The level of each code, chosen bit by bit, which fuses into what reads it, as a look-up does not."""
    levels: list[Any] = [level * one for level in map(jnp.float32, NF4)]
    for bit in range(4):
        is_set = (codes >> bit & 1).astype(bool)
        levels = [jnp.where(is_set, high, low) for low, high in zip(levels[::2], levels[1::2], strict=True)]
    return levels[0]


def _one(x_BTI: Array) -> Array | float:
    """A one that is not there before `x_BTI` is: else the kernels of all layers would be made at once.

    XLA sees through a barrier, and may not drop this: a factor of one, or not a number. Over several devices
    it would have to cross them, and is left out.
    """
    if not is_whole():
        return 1.0
    first = x_BTI[0, 0, 0].astype(jnp.float32)
    return jnp.where(jnp.isnan(first), first, 1.0)


@jax.custom_vjp
def quantized_product(
    x_BTI: Float[Array, "B T I"], codes_IO: Array, scales_GO: Float[Array, "G O"]
) -> Float[Array, "B T O"]:
    """`x·kernel`; the kernel lives in the dtype of `x` while it is read, and is frozen."""
    kernel_IO = dequantized(codes_IO, scales_GO, x_BTI.dtype, _one(x_BTI))
    return jax.lax.dot_general(x_BTI, kernel_IO, (((2,), (0,)), ((), ())))


def _product_fwd(x_BTI: Array, codes_IO: Array, scales_GO: Array) -> tuple[Array, tuple[Array, Array]]:
    return quantized_product(x_BTI, codes_IO, scales_GO), (codes_IO, scales_GO)


def _product_bwd(saved: tuple[Array, Array], y_BTO: Array) -> tuple[Array, None, None]:
    # The kernel is made again: kept from the forward pass, those of all layers would be in memory at once.
    codes_IO, scales_GO = saved
    kernel_IO = dequantized(codes_IO, scales_GO, y_BTO.dtype, _one(y_BTO))
    return jax.lax.dot_general(y_BTO, kernel_IO, (((2,), (1,)), ((), ()))), None, None


quantized_product.defvjp(_product_fwd, _product_bwd)
