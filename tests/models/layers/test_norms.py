from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.closeness import assert_close
from tests.models.layers.definitions import F, assert_same_function
from tunix_exp.models.layers.norms import LayerNorm, RMSNorm

BF16 = {"param_dtype": jnp.float32, "compute_dtype": jnp.bfloat16}
F32 = {"param_dtype": jnp.float32, "compute_dtype": jnp.float32}


def test_layer_norm_has_zero_mean_and_unit_variance_before_scale_and_bias():
    norm = LayerNorm(64, epsilon=1e-6, **F32)
    y_BTD = norm(jax.random.normal(jax.random.key(0), (2, 3, 64)) * 5 + 100)
    moments = y_BTD.mean(-1), y_BTD.var(-1)
    assert_close(moments, (jnp.zeros((2, 3)), jnp.ones((2, 3))), roundings=64, of=100 / 5)


def test_layer_norm_keeps_its_statistics_in_float32():
    norm = LayerNorm(64, epsilon=1e-6, **BF16)
    x_BTD = jax.random.normal(jax.random.key(0), (2, 3, 64)) + 300
    exact = LayerNorm(64, epsilon=1e-6, **F32)(x_BTD)
    assert norm(x_BTD).dtype == jnp.bfloat16
    assert_close(norm(x_BTD).astype(jnp.float32), exact, roundings=1, dtype="bfloat16")


@pytest.mark.parametrize("offset", [0, 1])
def test_rms_norm_has_unit_mean_square_at_first_and_then_times_its_scale_and_offset(offset):
    norm = RMSNorm(64, epsilon=1e-6, offset=offset, **F32)
    x_BTNH = jax.random.normal(jax.random.key(0), (2, 3, 4, 64)) * 5 + 3
    ones_BTN = jnp.ones((2, 3, 4))
    assert_close(jnp.square(norm(x_BTNH)).mean(-1), ones_BTN, roundings=64)
    norm.scale[...] = jnp.full((64,), 0.5)
    assert_close(jnp.square(norm(x_BTNH)).mean(-1), (offset + 0.5) ** 2 * ones_BTN, roundings=64)


@pytest.mark.parametrize("norm", [LayerNorm, partial(RMSNorm, offset=0)])
def test_epsilon_is_added_to_the_mean_square_before_its_root_is_taken(norm):
    x_BTD = jnp.tile(jnp.array([1e-3, -1e-3]), 32)[None, None]
    y_BTD = norm(64, epsilon=3e-6, **F32)(x_BTD)
    assert_close(y_BTD, 1e-3 * jnp.sign(x_BTD) / 4e-6**0.5, roundings=64)


def test_rms_norm_keeps_its_statistics_in_float32():
    x_BTD = jax.random.normal(jax.random.key(0), (2, 3, 64)) * 1e-3 + 300
    exact = RMSNorm(64, epsilon=1e-6, offset=1, **F32)(x_BTD)
    rounded = RMSNorm(64, epsilon=1e-6, offset=1, **BF16)(x_BTD)
    assert rounded.dtype == jnp.bfloat16
    np.testing.assert_array_equal(rounded, exact.astype(jnp.bfloat16))


def test_the_layer_norm_s_own_gradient_is_that_of_its_definition():
    graphdef, params = nnx.split(LayerNorm(8, epsilon=1e-5, **F32))

    def with_parameters(x_BTD, scale_D, bias_D):
        replaced = jax.tree.unflatten(jax.tree.structure(params), [bias_D, scale_D])
        return nnx.merge(graphdef, replaced)(x_BTD)

    def definition(x_BTD, scale_D, bias_D):
        unit_BTD = (x_BTD - x_BTD.mean(-1, keepdims=True)) / jnp.sqrt(x_BTD.var(-1, keepdims=True) + 1e-5)
        return unit_BTD * scale_D[None, None] + bias_D[None, None]

    assert_same_function(
        with_parameters, definition, jnp.cos(F), jnp.arange(8.0) + 1, jnp.arange(8.0), roundings=8
    )
