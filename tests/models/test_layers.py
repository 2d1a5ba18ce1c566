import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tunix_exp.models.layers import Dense, Embedding, LayerNorm, RMSNorm

BF16 = {"param_dtype": jnp.float32, "compute_dtype": jnp.bfloat16}
F32 = {"param_dtype": jnp.float32, "compute_dtype": jnp.float32}


def test_dense_multiplies_by_a_kernel_of_inputs_by_outputs():
    dense = Dense(3, 2, std=1.0, rngs=nnx.Rngs(0), **F32)
    dense.bias[...] = jnp.array([10.0, 20.0])
    x_BTI = jnp.arange(6.0).reshape(1, 2, 3)
    expected = np.asarray(x_BTI @ dense.kernel[...]) + np.array([10, 20])
    np.testing.assert_allclose(dense(x_BTI), expected, rtol=1e-6)


def test_layer_norm_has_zero_mean_and_unit_variance_before_scale_and_bias():
    norm = LayerNorm(64, epsilon=1e-6, **F32)
    y_BTD = norm(jax.random.normal(jax.random.key(0), (2, 3, 64)) * 5 + 100)
    np.testing.assert_allclose(y_BTD.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(y_BTD.var(-1), 1, atol=1e-4)


def test_layer_norm_keeps_its_statistics_in_float32():
    norm = LayerNorm(64, epsilon=1e-6, **BF16)
    x_BTD = jax.random.normal(jax.random.key(0), (2, 3, 64)) + 300
    exact = LayerNorm(64, epsilon=1e-6, **F32)(x_BTD)
    assert norm(x_BTD).dtype == jnp.bfloat16
    np.testing.assert_allclose(norm(x_BTD).astype(jnp.float32), exact, atol=2e-2)


def test_rms_norm_has_unit_mean_square_times_one_plus_the_scale():
    norm = RMSNorm(64, epsilon=1e-6, **F32)
    x_BTNH = jax.random.normal(jax.random.key(0), (2, 3, 4, 64)) * 5 + 3
    np.testing.assert_allclose(jnp.square(norm(x_BTNH)).mean(-1), 1, atol=1e-5)
    norm.scale[...] = jnp.full((64,), 0.5)
    np.testing.assert_allclose(jnp.square(norm(x_BTNH)).mean(-1), 1.5**2, atol=1e-5)


def test_rms_norm_keeps_its_statistics_in_float32():
    x_BTD = jax.random.normal(jax.random.key(0), (2, 3, 64)) * 1e-3 + 300
    exact = RMSNorm(64, epsilon=1e-6, **F32)(x_BTD)
    rounded = RMSNorm(64, epsilon=1e-6, **BF16)(x_BTD)
    assert rounded.dtype == jnp.bfloat16
    np.testing.assert_array_equal(rounded, exact.astype(jnp.bfloat16))


def test_dense_without_a_bias_has_no_bias():
    dense = Dense(3, 2, std=1.0, has_bias=False, rngs=nnx.Rngs(0), **F32)
    assert dense.bias is None
    x_BTI = jnp.arange(6.0).reshape(1, 2, 3)
    np.testing.assert_allclose(dense(x_BTI), np.asarray(x_BTI @ dense.kernel[...]), rtol=1e-6)


def test_embedding_logits_are_float32_when_computing_in_bfloat16():
    table = Embedding(5, 4, std=1.0, rngs=nnx.Rngs(0), **BF16)
    x_BTD = table(jnp.array([[0, 4]]))
    assert x_BTD.dtype == jnp.bfloat16
    assert table.logits(x_BTD).dtype == jnp.float32


@pytest.mark.parametrize("part", [Dense, Embedding])
def test_parameters_stay_in_their_own_dtype(part):
    made = part(4, 4, std=1.0, param_dtype=jnp.bfloat16, compute_dtype=jnp.float32, rngs=nnx.Rngs(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(made))} == {jnp.dtype(jnp.bfloat16)}
