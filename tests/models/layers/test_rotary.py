import jax
import jax.numpy as jnp
import numpy as np

from tests.closeness import assert_close
from tunix_exp.models.layers.rotary import Rotary, Scaling, frequencies, rotated


def test_a_rotation_keeps_lengths_and_depends_on_the_distance_alone():
    x_BTNH = jax.random.normal(jax.random.key(0), (1, 1, 1, 8))
    y_BTNH = jax.random.normal(jax.random.key(1), (1, 1, 1, 8))

    def at(vector_BTNH, position):
        return rotated(vector_BTNH, position * jnp.asarray(frequencies(10_000.0, 8))[None, None])

    length = (x_BTNH**2).sum()
    assert_close((at(x_BTNH, 7) ** 2).sum(), length, roundings=8)
    near = (at(x_BTNH, 5) * at(y_BTNH, 2)).sum()
    # an angle of 105 is exact to half a unit of its own size
    of = 105 * jnp.sqrt(length * (y_BTNH**2).sum())
    assert_close((at(x_BTNH, 105) * at(y_BTNH, 102)).sum(), near, roundings=8, of=of)
    np.testing.assert_array_equal(at(x_BTNH, 0), x_BTNH)


def test_frequencies_fall_from_one_by_equal_ratios():
    assert_close(frequencies(10_000.0, 8).tolist(), [1, 1e-1, 1e-2, 1e-3], roundings=4)


def test_a_layer_without_a_base_rotates_nothing():
    frequencies_LR = Rotary((10_000.0, None), 8).frequencies()
    np.testing.assert_array_equal(frequencies_LR[0], frequencies(10_000.0, 8))
    x_BTNH = jax.random.normal(jax.random.key(0), (1, 1, 1, 8))
    np.testing.assert_array_equal(rotated(x_BTNH, 77 * jnp.asarray(frequencies_LR[1])[None, None]), x_BTNH)


def test_scaled_frequencies_are_kept_where_they_turn_often_and_divided_where_they_hardly_turn():
    scaling = Scaling(factor=8.0, low=1.0, high=4.0, num_positions=32)
    turns_R = np.array([9.0, 4.0, 2.5, 1.0, 0.1])
    scaled_R = scaling.scaled(turns_R * 2 * np.pi / 32) * 32 / (2 * np.pi)
    assert_close(scaled_R, [9.0, 4.0, 2.5 * (1 + 1 / 8) / 2, 1 / 8, 0.1 / 8], roundings=8)
    plain, (found,) = frequencies(500.0, 16), Rotary((500.0,), 16, scaling).frequencies()
    assert_close(found, scaling.scaled(plain), roundings=2)


def test_channels_beyond_the_rotated_ones_stay_as_they_are():
    x_BTNH = jax.random.normal(jax.random.key(0), (1, 3, 2, 8))
    angles_BTR = jnp.arange(3.0)[None, :, None] * jnp.asarray(frequencies(10_000.0, 4))[None, None]
    found_BTNH = rotated(x_BTNH, angles_BTR)
    np.testing.assert_array_equal(found_BTNH[..., 4:], x_BTNH[..., 4:])
    np.testing.assert_array_equal(found_BTNH[..., :4], rotated(x_BTNH[..., :4], angles_BTR))
