import jax
import jax.numpy as jnp

from tests.models.layers.definitions import F, assert_same_function
from tunix_exp.models.layers.activations import gated_gelu, gated_silu, gelu

SECH = 5.0  # 1 - tanh² is what is left of one; x (0.8 + 0.1 x²) / 2 multiplies it until nothing is, at 4


def test_gelu_is_that_of_jax_and_its_derivative_too():
    assert_same_function(gelu, lambda x: jax.nn.gelu(x, approximate=True), F, magnified=SECH)


def test_gelu_of_very_large_numbers_is_finite_and_so_is_its_derivative():
    x_BTF = jnp.array([[[-1e4, 1e4, 0.0]]])
    assert gelu(x_BTF).tolist() == [[[0.0, 1e4, 0.0]]]
    assert jax.grad(lambda x: gelu(x).sum())(x_BTF).tolist() == [[[0.0, 1.0, 0.5]]]


def test_gated_gelu_is_gelu_times_the_other():
    assert_same_function(
        gated_gelu, lambda g, u: jax.nn.gelu(g, approximate=True) * u, F / 4, jnp.cos(F), magnified=SECH
    )


def test_gated_silu_is_silu_times_the_other():
    assert_same_function(gated_silu, lambda g, u: jax.nn.silu(g) * u, F / 4, jnp.cos(F), magnified=SECH)


def test_gated_silu_of_very_large_numbers_is_finite_and_so_is_its_derivative():
    gate_BTF, up_BTF = jnp.array([[[-1e4, 1e4, 0.0]]]), jnp.array([[[2.0, 2.0, 2.0]]])
    assert gated_silu(gate_BTF, up_BTF).tolist() == [[[0.0, 2e4, 0.0]]]
    assert jax.grad(lambda g: gated_silu(g, up_BTF).sum())(gate_BTF).tolist() == [[[0.0, 2.0, 1.0]]]
