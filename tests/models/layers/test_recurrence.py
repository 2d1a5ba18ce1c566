"""The recurrent block: whole rows, one token after another, segments and gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.closeness import assert_close
from tests.models.layers.definitions import assert_same_function
from tunix_exp.models.layers import recurrence
from tunix_exp.models.layers.cache import Next, Rows
from tunix_exp.models.layers.dense import Dense
from tunix_exp.models.layers.recurrence import GatedUnit, Recurrence, linear_recurrence

WIDTH, CHANNELS, TAPS = 6, 8, 4
F32 = {"param_dtype": jnp.float32, "compute_dtype": jnp.float32}


def made(**dtypes):
    """A block whose parameters are all drawn and none small."""
    dtypes = F32 | dtypes
    block = Recurrence(
        WIDTH,
        CHANNELS,
        num_blocks=2,
        taps=TAPS,
        dense=partial(Dense, std=0.0, **dtypes),
        std=0.0,
        **dtypes,
    )
    graphdef, params = nnx.split(block)
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    drawn = [leaf + 0.5 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return nnx.merge(graphdef, jax.tree.unflatten(treedef, drawn))


def inputs(rows, length, seed=1):
    return jax.random.normal(jax.random.key(seed), (rows, length, WIDTH))


def rows_of(segment_ids_BT, *, keeps=False):
    return Rows(jnp.asarray(segment_ids_BT), lambda *_: pytest.fail("it attends"), keeps=keeps)


def whole(block, x_BTD, segment_ids_BT):
    return _whole(*nnx.split(block), x_BTD, segment_ids_BT)


@partial(jax.jit, static_argnums=0)
def _whole(graphdef, params, x_BTD, segment_ids_BT):
    return nnx.merge(graphdef, params)(x_BTD, rows_of(segment_ids_BT, keeps=True))


def step_by_step(block, x_BTD, state):
    return _step_by_step(*nnx.split(block), x_BTD, state)


@partial(jax.jit, static_argnums=0)
def _step_by_step(graphdef, params, x_BTD, state):
    block = nnx.merge(graphdef, params)

    def step(state, x_BD):
        y_B1D, state = block(x_BD[:, None], Next(state, None))
        return state, y_B1D[:, 0]

    state, y_TBD = jax.lax.scan(step, state, jnp.swapaxes(x_BTD, 0, 1))
    return jnp.swapaxes(y_TBD, 0, 1), state


def one_after_another(a_BTD, x_BTD):
    def step(h_BD, ax):
        h_BD = ax[0] * h_BD + ax[1]
        return h_BD, h_BD

    along = [jnp.swapaxes(part, 0, 1) for part in (a_BTD, x_BTD)]
    return jnp.swapaxes(jax.lax.scan(step, jnp.zeros_like(x_BTD[:, 0]), tuple(along))[1], 0, 1)


@pytest.mark.parametrize("length", [1, 2, 7, 64])
def test_the_recurrence_and_its_gradient_are_those_of_its_definition(length):
    keys = jax.random.split(jax.random.key(length))
    a_BTD = jax.nn.sigmoid(3 * jax.random.normal(keys[0], (4, length, 7)) + 3).at[:, length // 2].set(0)
    x_BTD = jax.random.normal(keys[1], (4, length, 7))
    assert_same_function(linear_recurrence, one_after_another, a_BTD, x_BTD, roundings=length + 8)


def test_nothing_but_decays_and_states_is_kept_for_its_gradient():
    a_BTD, x_BTD = jnp.full((2, 64, 3), 0.5), jnp.ones((2, 64, 3))
    saved = jax.vjp(linear_recurrence, a_BTD, x_BTD)[1]
    assert sum(leaf.size for leaf in jax.tree.leaves(saved)) == 2 * a_BTD.size


def test_whole_rows_are_what_one_token_after_another_gives_over_4096_tokens():
    block, x_BTD = made(), inputs(2, 4096)
    y_BTD, _ = whole(block, x_BTD, jnp.ones((2, 4096), jnp.int32))
    first_BTD, state = whole(block, x_BTD[:, :1], jnp.ones((2, 1), jnp.int32))
    others_BTD, _ = step_by_step(block, x_BTD[:, 1:], state)
    assert np.abs(y_BTD).max() > 1
    assert np.abs(jnp.concatenate([first_BTD, others_BTD], axis=1) - y_BTD).max() <= 1e-5


@pytest.mark.parametrize("prompt", [1, 2, 3, 9])
def test_the_state_of_whole_rows_goes_on_where_they_end(prompt):
    block, x_BTD = made(), inputs(2, 12)
    y_BTD, state = whole(block, x_BTD, jnp.ones((2, 12), jnp.int32))
    _, begun = whole(block, x_BTD[:, :prompt], jnp.ones((2, prompt), jnp.int32))
    others_BTD, after = step_by_step(block, x_BTD[:, prompt:], begun)
    assert_close(others_BTD, y_BTD[:, prompt:], roundings=60)
    assert_close((after.inputs_BCD, after.h_BD), (state.inputs_BCD, state.h_BD), roundings=60)


def test_its_state_has_one_size_at_every_length():
    block = made()

    def size(length):
        ones_BT = jnp.ones((1, length), jnp.int32)
        state = jax.eval_shape(lambda x_BTD: whole(block, x_BTD, ones_BT)[1], inputs(1, length))
        return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(state)]

    assert size(1) == size(128) == size(8192)


def test_packed_segments_are_computed_as_if_each_stood_alone():
    block, x_BTD = made(), inputs(1, 12)
    ids_BT = jnp.asarray([[1, 1, 1, 1, 2, 3, 3, 3, 3, 3, 0, 0]])
    y_BTD, _ = whole(block, x_BTD, ids_BT)
    for part in (slice(0, 4), slice(4, 5), slice(5, 10)):
        alone_BTD = x_BTD[:, part]
        expected = whole(block, alone_BTD, jnp.ones(alone_BTD.shape[:2], jnp.int32))[0]
        assert_close(y_BTD[:, part], expected, roundings=60)


def test_no_gradient_reaches_over_a_segment_s_first_token():
    block, x_BTD = made(), inputs(1, 8)
    ids_BT = jnp.asarray([[1, 1, 1, 1, 2, 2, 2, 2]])
    reach_BTD = jax.grad(lambda x_BTD: whole(block, x_BTD, ids_BT)[0][:, 4:].sum())(x_BTD)
    np.testing.assert_array_equal(np.abs(reach_BTD).sum(axis=(0, 2)) > 0, [False] * 4 + [True] * 4)


def test_padding_on_the_left_leaves_no_trace_in_outputs_or_state():
    block, x_BTD = made(), inputs(2, 5)
    y_BTD, state = whole(block, x_BTD, jnp.ones((2, 5), jnp.int32))
    padded_BTD = jnp.concatenate([100 * inputs(2, 3, seed=2), x_BTD], axis=1)
    found_BTD, found = whole(block, padded_BTD, jnp.asarray([[0, 0, 0, 1, 1, 1, 1, 1]] * 2))
    assert_close(found_BTD[:, 3:], y_BTD, roundings=60)
    assert_close((found.inputs_BCD, found.h_BD), (state.inputs_BCD, state.h_BD), roundings=60)
    short = whole(block, padded_BTD[:, :4], jnp.asarray([[0, 0, 0, 1]] * 2))[1]
    np.testing.assert_array_equal(short.inputs_BCD[:, :-1], 0)


def test_the_last_tap_is_on_the_token_itself_and_the_first_on_the_third_before_it():
    block = made()
    graphdef, params = nnx.split(block.convolution)
    taps = jnp.asarray([1000.0, 100.0, 10.0, 1.0])[:, None, None] * jnp.ones((TAPS, 1, CHANNELS))
    params["taps"], params["bias"] = (nnx.Param(part) for part in (taps, jnp.zeros(CHANNELS)))
    u_BTD = jnp.broadcast_to(jnp.asarray([1.0, 2, 3, 4, 5])[None, :, None], (1, 5, CHANNELS))
    y_BTD = nnx.merge(graphdef, params)(u_BTD, jnp.ones((1, 5), jnp.int32))
    assert y_BTD[0, :, 0].tolist() == [1, 12, 123, 1234, 2345]


def test_a_segment_s_first_token_is_not_scaled_down_and_the_next_ones_are():
    unit = GatedUnit(4, 2, std=0.0, **F32)
    u_BTD = jnp.ones((1, 3, 4))
    h_BTD = unit(u_BTD, jnp.asarray([[True, False, True]]))
    a = float(jnp.exp(-4 * jax.nn.softplus(-3.5)))  # all gates are half open
    expected = np.array([0.5, a * 0.5 + (1 - a**2) ** 0.5 * 0.5, 0.5])
    assert_close(np.asarray(h_BTD[0, :, 0]), expected, roundings=16)


@pytest.mark.parametrize("decay", [-200.0, -18.0, 40.0])
def test_gradients_are_finite_where_nothing_or_everything_is_forgotten(decay):
    block = made()
    block.unit.decay[...] = jnp.full(CHANNELS, decay)
    graphdef, params = nnx.split(block)
    ones_BT = jnp.ones((1, 64), jnp.int32)

    def loss(params):
        return whole(nnx.merge(graphdef, params), inputs(1, 64), ones_BT)[0].sum()

    for leaf in jax.tree.leaves(jax.grad(loss)(params)):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() < 1e4


def test_the_root_s_slope_has_a_limit_and_is_its_own_above_that():
    slope = jax.vmap(jax.grad(recurrence._bounded_root))
    assert_close(slope(jnp.array([0.0, 1e-8, 0.25, 1.0])), np.array([1e3, 1e3, 1.0, 0.5]), roundings=2)


def test_the_state_is_float32_and_the_convolution_s_inputs_have_the_compute_dtype():
    block = made(compute_dtype=jnp.bfloat16)
    y_BTD, state = whole(block, inputs(1, 5).astype(jnp.bfloat16), jnp.ones((1, 5), jnp.int32))
    assert (y_BTD.dtype, state.inputs_BCD.dtype, state.h_BD.dtype) == (
        jnp.bfloat16,
        jnp.bfloat16,
        jnp.float32,
    )


def test_a_step_takes_one_token():
    block = made()
    _, state = whole(block, inputs(1, 5), jnp.ones((1, 5), jnp.int32))
    with pytest.raises((TypeError, ValueError)):
        block(inputs(1, 2), Next(state, None))
