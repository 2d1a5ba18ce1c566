import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.closeness import assert_close
from tests.models.layers.definitions import F, assert_same_function
from tunix_exp.models.layers.dense import Dense, product
from tunix_exp.models.layers.embedding import Embedding

BF16 = {"param_dtype": jnp.float32, "compute_dtype": jnp.bfloat16}
F32 = {"param_dtype": jnp.float32, "compute_dtype": jnp.float32}


def test_dense_multiplies_by_a_kernel_of_inputs_by_outputs():
    dense = Dense(3, 2, std=1.0, **F32)
    dense.kernel[...] = jnp.sin(jnp.arange(6.0)).reshape(3, 2)
    dense.bias[...] = jnp.array([10.0, 20.0])
    x_BTI = jnp.arange(6.0).reshape(1, 2, 3)
    expected = np.asarray(x_BTI @ dense.kernel[...]) + np.array([10, 20])
    assert_close(dense(x_BTI), expected, roundings=3)


def test_dense_without_a_bias_has_no_bias():
    dense = Dense(3, 2, std=1.0, has_bias=False, **F32)
    assert dense.bias is None
    dense.kernel[...] = jnp.sin(jnp.arange(6.0)).reshape(3, 2)
    x_BTI = jnp.arange(6.0).reshape(1, 2, 3)
    assert_close(dense(x_BTI), x_BTI @ dense.kernel[...], roundings=3)


def test_a_product_s_own_gradient_is_that_of_its_definition():
    operands = jnp.cos(F), jnp.sin(F[0, :, :].T)
    assert_same_function(product, lambda x, k: jnp.einsum("bti,io->bto", x, k), *operands, roundings=8)


@pytest.mark.parametrize("part", [Dense, Embedding])
def test_parameters_stay_in_their_own_dtype(part):
    made = part(4, 4, std=1.0, param_dtype=jnp.bfloat16, compute_dtype=jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(made))} == {jnp.dtype(jnp.bfloat16)}
