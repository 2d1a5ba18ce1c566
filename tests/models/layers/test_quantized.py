"""Codes and scales against plain numpy, and the product that reads them."""

from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.closeness import assert_close
from tunix_exp.models.layers.dense import product
from tunix_exp.models.layers.quantized import NF4, dequantized, group_of, quantized, quantized_product

KINDS = ("int8", "nf4")
KERNEL_IO = np.random.default_rng(0).normal(size=(192, 40)).astype(np.float32)
X_BTI = np.random.default_rng(1).normal(size=(2, 5, 192)).astype(np.float32)


def held(kind, kernel_IO=KERNEL_IO):
    return jax.jit(quantized, static_argnums=1)(kernel_IO, kind)


def test_the_levels_are_quantiles_of_a_normal_distribution():
    # Appendix E of QLoRA: eight quantiles above zero, seven below, zero itself, and the largest is one.
    offset, quantile = 0.9677083, NormalDist().inv_cdf
    above = [quantile(p) for p in np.linspace(offset, 0.5, 9)[:-1]]
    below = [-quantile(p) for p in np.linspace(offset, 0.5, 8)[:-1]]
    expected = np.sort([*above, 0.0, *below]) / max(above)
    assert np.abs(NF4 - expected).max() < 1e-6  # the paper prints no more digits


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_is_the_nearest_level_of_its_group(kind):
    found_IO = np.asarray(dequantized(*held(kind), jnp.float32))
    levels = np.asarray(NF4) if kind == "nf4" else np.arange(-127, 128) / 127
    groups_GPO = KERNEL_IO.reshape(3, 64, 40)
    largest_G1O = np.abs(groups_GPO).max(axis=1, keepdims=True)
    nearest_GPO = levels[np.abs(groups_GPO[..., None] / largest_G1O[..., None] - levels).argmin(-1)]
    expected_IO = (nearest_GPO * largest_G1O).reshape(KERNEL_IO.shape)
    assert_close(found_IO, expected_IO, roundings=3)


def test_codes_take_a_byte_or_half_of_one_and_scales_a_float_for_64_inputs():
    for kind, rows, dtype in (("int8", 192, jnp.int8), ("nf4", 96, jnp.uint8)):
        codes_IO, scales_GO = held(kind)
        assert (codes_IO.shape, codes_IO.dtype) == ((rows, 40), dtype)
        assert (scales_GO.shape, scales_GO.dtype) == ((3, 40), jnp.float32)
    assert [group_of(inputs) for inputs in (2048, 896, 96, 48, 7)] == [64, 64, 32, 16, 1]


def test_the_low_bits_of_a_byte_are_of_the_first_half_of_its_group():
    kernel_IO = np.zeros((64, 1), np.float32)
    kernel_IO[[0, 33], 0] = 1.0
    codes_IO, _ = held("nf4", kernel_IO)
    assert [int(codes_IO[0, 0]), int(codes_IO[1, 0]), int(codes_IO[2, 0])] == [0x7F, 0xF7, 0x77]


@pytest.mark.parametrize("kind", KINDS)
def test_a_group_of_zeros_stays_one_and_stacked_kernels_are_quantized_one_by_one(kind):
    assert not np.any(dequantized(*held(kind, np.zeros((64, 3), np.float32)), jnp.float32))
    stacked = held(kind, np.stack([KERNEL_IO, 2 * KERNEL_IO]))
    np.testing.assert_array_equal(stacked[0][0], held(kind)[0])
    np.testing.assert_array_equal(
        dequantized(*stacked, jnp.float32)[0], dequantized(*held(kind), jnp.float32)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_product_and_its_gradient_are_those_of_the_kernel_that_the_codes_stand_for(kind):
    codes_IO, scales_GO = held(kind)

    def loss(product, x_BTI, *kernel):
        return jnp.sum(jnp.sin(product(x_BTI, *kernel)))

    kernel_IO = dequantized(codes_IO, scales_GO, jnp.float32)
    found = jax.jit(jax.value_and_grad(lambda x: loss(quantized_product, x, codes_IO, scales_GO)))(X_BTI)
    expected = jax.jit(jax.value_and_grad(lambda x: loss(product, x, kernel_IO)))(X_BTI)
    assert_close(found, expected, roundings=3 * 192)
