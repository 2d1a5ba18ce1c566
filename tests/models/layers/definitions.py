"""A function and its own gradient beside those of its definition."""

import jax
import jax.numpy as jnp

from tests.closeness import assert_close

F = jnp.linspace(-30.0, 30.0, 4 * 7 * 8).reshape(4, 7, 8)


def assert_same_function(ours, reference, *operands, roundings=4, magnified=1.0):
    """Values and gradients, the latter for a cotangent without symmetry.

    `magnified` says by how much a derivative multiplies what has cancelled in it.
    """
    each = tuple(range(len(operands)))

    def both(function):
        """Values and gradients by one program, which compiles in the time of a few operations alone."""

        def weighed(*operands):
            values = function(*operands)
            weights = jnp.sin(jnp.arange(values.size)).reshape(values.shape)
            return (values * weights).sum(), values

        gradients, values = jax.jit(jax.grad(weighed, argnums=each, has_aux=True))(*operands)
        assert jnp.isfinite(values).all()
        return values, gradients

    (values, got), (due, wanted) = both(ours), both(reference)
    assert_close(values, due, roundings=roundings)
    for one, other in zip(got, wanted, strict=True):
        # of a parameter, a sum over all rows
        assert_close(one, other, roundings=3 * roundings + 4 * 7, of=magnified * jnp.abs(other).max())
