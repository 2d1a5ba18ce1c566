"""A function and its own gradient beside those of its definition."""

import jax
import jax.numpy as jnp

from tests.closeness import assert_close

F = jnp.linspace(-30.0, 30.0, 4 * 7 * 8).reshape(4, 7, 8)


def assert_same_function(ours, reference, *operands, roundings=4, magnified=1.0):
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
