import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.closeness import assert_close
from tunix_exp.models.layers import (
    Dense,
    Embedding,
    LayerNorm,
    RMSNorm,
    Unembedding,
    gated_gelu,
    gelu,
    product,
)

BF16 = {"param_dtype": jnp.float32, "compute_dtype": jnp.bfloat16}
F32 = {"param_dtype": jnp.float32, "compute_dtype": jnp.float32}


def test_dense_multiplies_by_a_kernel_of_inputs_by_outputs():
    dense = Dense(3, 2, std=1.0, **F32)
    dense.kernel[...] = jnp.sin(jnp.arange(6.0)).reshape(3, 2)
    dense.bias[...] = jnp.array([10.0, 20.0])
    x_BTI = jnp.arange(6.0).reshape(1, 2, 3)
    expected = np.asarray(x_BTI @ dense.kernel[...]) + np.array([10, 20])
    assert_close(dense(x_BTI), expected, roundings=3)


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


def test_rms_norm_has_unit_mean_square_times_one_plus_the_scale():
    norm = RMSNorm(64, epsilon=1e-6, **F32)
    x_BTNH = jax.random.normal(jax.random.key(0), (2, 3, 4, 64)) * 5 + 3
    ones_BTN = jnp.ones((2, 3, 4))
    assert_close(jnp.square(norm(x_BTNH)).mean(-1), ones_BTN, roundings=64)
    norm.scale[...] = jnp.full((64,), 0.5)
    assert_close(jnp.square(norm(x_BTNH)).mean(-1), 1.5**2 * ones_BTN, roundings=64)


@pytest.mark.parametrize("norm", [LayerNorm, RMSNorm])
def test_epsilon_is_added_to_the_mean_square_before_its_root_is_taken(norm):
    x_BTD = jnp.tile(jnp.array([1e-3, -1e-3]), 32)[None, None]
    y_BTD = norm(64, epsilon=3e-6, **F32)(x_BTD)
    assert_close(y_BTD, 1e-3 * jnp.sign(x_BTD) / 4e-6**0.5, roundings=64)


def test_rms_norm_keeps_its_statistics_in_float32():
    x_BTD = jax.random.normal(jax.random.key(0), (2, 3, 64)) * 1e-3 + 300
    exact = RMSNorm(64, epsilon=1e-6, **F32)(x_BTD)
    rounded = RMSNorm(64, epsilon=1e-6, **BF16)(x_BTD)
    assert rounded.dtype == jnp.bfloat16
    np.testing.assert_array_equal(rounded, exact.astype(jnp.bfloat16))


def test_dense_without_a_bias_has_no_bias():
    dense = Dense(3, 2, std=1.0, has_bias=False, **F32)
    assert dense.bias is None
    dense.kernel[...] = jnp.sin(jnp.arange(6.0)).reshape(3, 2)
    x_BTI = jnp.arange(6.0).reshape(1, 2, 3)
    assert_close(dense(x_BTI), x_BTI @ dense.kernel[...], roundings=3)


def test_embedding_logits_are_float32_when_computing_in_bfloat16():
    table = Embedding(5, 4, std=1.0, **BF16)
    x_BTD = table(jnp.array([[0, 4]]))
    assert x_BTD.dtype == jnp.bfloat16
    assert Unembedding(x_BTD.dtype).logits(x_BTD, table.embedding[...]).dtype == jnp.float32


F = jnp.linspace(-30.0, 30.0, 4 * 7 * 8).reshape(4, 7, 8)
SECH = 5.0  # 1 - tanh² is what is left of one; x (0.8 + 0.1 x²) / 2 multiplies it until nothing is, at 4


def agree(ours, reference, *operands, roundings=4, magnified=1.0):
    """Values and gradients, the latter for a cotangent without symmetry.

    `magnified` says by how much a derivative multiplies what has cancelled in it.
    """
    weights = jnp.sin(jnp.arange(reference(*operands).size)).reshape(reference(*operands).shape)
    for name in (ours, reference):
        assert jnp.isfinite(name(*operands)).all()
    assert_close(ours(*operands), reference(*operands), roundings=roundings)
    each = tuple(range(len(operands)))
    got, wanted = (
        jax.grad(lambda *xs, f=f: (f(*xs) * weights).sum(), argnums=each)(*operands)
        for f in (ours, reference)
    )
    for one, other in zip(got, wanted, strict=True):
        # of a parameter, a sum over all rows
        assert_close(one, other, roundings=3 * roundings + 4 * 7, of=magnified * jnp.abs(other).max())


def test_gelu_is_that_of_jax_and_its_derivative_too():
    agree(gelu, lambda x: jax.nn.gelu(x, approximate=True), F, magnified=SECH)


def test_gelu_of_very_large_numbers_is_finite_and_so_is_its_derivative():
    x_BTF = jnp.array([[[-1e4, 1e4, 0.0]]])
    assert gelu(x_BTF).tolist() == [[[0.0, 1e4, 0.0]]]
    assert jax.grad(lambda x: gelu(x).sum())(x_BTF).tolist() == [[[0.0, 1.0, 0.5]]]


def test_gated_gelu_is_gelu_times_the_other():
    agree(gated_gelu, lambda g, u: jax.nn.gelu(g, approximate=True) * u, F / 4, jnp.cos(F), magnified=SECH)


def test_the_layer_norm_s_own_gradient_is_that_of_its_definition():
    graphdef, params = nnx.split(LayerNorm(8, epsilon=1e-5, **F32))

    def with_parameters(x_BTD, scale_D, bias_D):
        replaced = jax.tree.unflatten(jax.tree.structure(params), [bias_D, scale_D])
        return nnx.merge(graphdef, replaced)(x_BTD)

    def definition(x_BTD, scale_D, bias_D):
        unit_BTD = (x_BTD - x_BTD.mean(-1, keepdims=True)) / jnp.sqrt(x_BTD.var(-1, keepdims=True) + 1e-5)
        return unit_BTD * scale_D[None, None] + bias_D[None, None]

    agree(with_parameters, definition, jnp.cos(F), jnp.arange(8.0) + 1, jnp.arange(8.0), roundings=8)


def test_a_product_s_own_gradient_is_that_of_its_definition():
    operands = jnp.cos(F), jnp.sin(F[0, :, :].T)
    agree(product, lambda x, k: jnp.einsum("bti,io->bto", x, k), *operands, roundings=8)


def test_a_table_read_and_read_again_gets_both_gradients():
    table_VD, index_BT = jnp.sin(jnp.arange(12.0)).reshape(4, 3), jnp.array([[0, 2, 2]])

    def twice(table_VD):
        table = Embedding(4, 3, std=1.0, **F32)
        table.embedding.set_value(table_VD)
        x_BTD, again_VD = table.read(index_BT)
        return (x_BTD**2).sum() + (again_VD**3).sum()

    expected_VD = 3 * table_VD**2 + 2 * table_VD * jnp.array([1.0, 0, 2, 0])[:, None]
    assert_close(jax.grad(twice)(table_VD), expected_VD, roundings=4)


@pytest.mark.parametrize("part", [Dense, Embedding])
def test_parameters_stay_in_their_own_dtype(part):
    made = part(4, 4, std=1.0, param_dtype=jnp.bfloat16, compute_dtype=jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(made))} == {jnp.dtype(jnp.bfloat16)}
