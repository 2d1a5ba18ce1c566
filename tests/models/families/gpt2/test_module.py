"""Properties of the architecture; gpt2_goldens.py has the numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.closeness import assert_close, model_roundings
from tests.models.toys import toy_config, toy_model
from tunix_exp.models.layers.cache import Room

B, T = 2, 9
FORWARD = model_roundings(toy_config(), T)
IN_BFLOAT16 = 3 * 8  # a layer rounds what it normalises, projects, gathers and adds, twice over


def tokens(seed=0, shape=(B, T)):
    return jax.random.randint(jax.random.key(seed), shape, 0, 31)


def positions(shape=(B, T)):
    return jnp.broadcast_to(jnp.arange(shape[1])[None], shape)


@nnx.jit
def logits_of(model, tokens_BT, positions_BT, segment_ids_BT):
    x_BTD, _ = model.hidden(tokens_BT, positions_BT, segment_ids_BT)
    return model.logits(x_BTD)


def full_logits(model, tokens_BT):
    shape = tokens_BT.shape
    return logits_of(model, tokens_BT, positions(shape), jnp.ones(shape, jnp.int32))


@pytest.fixture(scope="module")
def model():
    return toy_model()


def test_no_output_depends_on_a_later_token(model):
    """By gradient: exactly zero at later tokens, not zero at the token itself and the one before."""

    def output(delta_TD, at):
        x_BTD = model.embed(tokens(), positions())[0] + delta_TD[None]
        x_BTD, _ = model.decode(x_BTD, positions(), jnp.ones((B, T), jnp.int32))
        return (x_BTD[:, at] * jnp.arange(1.0, 17.0)[None]).sum()

    at = 4
    gradient_TD = jax.jit(jax.grad(output), static_argnums=1)(jnp.zeros((T, 16)), at)
    assert (gradient_TD[at + 1 :] == 0).all()
    assert (jnp.abs(gradient_TD[: at + 1]).sum(axis=1) > 1e-3).all()


def test_no_output_depends_on_another_segment(model):
    segment_ids_BT = jnp.array([[1] * 4 + [2] * 5] * B)
    positions_BT = jnp.array([[0, 1, 2, 3, 0, 1, 2, 3, 4]] * B)
    packed = logits_of(model, tokens(), positions_BT, segment_ids_BT)
    alone = [full_logits(model, tokens()[:, part]) for part in (slice(4), slice(4, T))]
    assert_close([packed[:, :4], packed[:, 4:]], alone, roundings=FORWARD)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_matter(model, side):
    pad = [(0, 0), (3, 0) if side == "left" else (0, 3)]
    real = slice(3, None) if side == "left" else slice(0, T)
    expected = full_logits(model, tokens())
    for pad_id in (0, 17):
        padded = logits_of(
            model,
            jnp.pad(tokens(), pad, constant_values=pad_id),
            jnp.pad(positions(), pad),
            jnp.pad(jnp.ones((B, T), jnp.int32), pad),
        )
        assert jnp.isfinite(padded).all()
        assert_close(padded[:, real], expected, roundings=FORWARD)


@pytest.mark.parametrize("layer_loop", ["unroll", "scan"])
def test_decoding_with_the_cache_equals_the_whole_forward(layer_loop):
    model = toy_model(layer_loop=layer_loop)
    graphdef, params = nnx.split(model)
    pads_B = np.array([0, 3])  # the second row has three slots of left padding
    slots_BT = np.arange(T)[None] - pads_B[:, None]
    positions_BT, segments_BT = (
        jnp.asarray(np.maximum(slots_BT, 0)),
        jnp.asarray((slots_BT >= 0).astype("int32")),
    )

    @jax.jit
    def step(params, tokens_BT, positions_BT, segments_BT, cache):
        model = nnx.merge(graphdef, params)
        x_BTD, cache = model.hidden(tokens_BT, positions_BT, segments_BT, cache)
        return model.logits(x_BTD), cache

    cache, seen = Room(T + 2), []
    for part in (slice(0, 5), *(slice(t, t + 1) for t in range(5, T))):
        logits, cache = step(params, tokens()[:, part], positions_BT[:, part], segments_BT[:, part], cache)
        seen.append(logits)
    assert cache.length_B.tolist() == [T, T]  # padding has slots as well
    expected = logits_of(model, tokens(), positions_BT, segments_BT)
    assert_close(jnp.concatenate(seen, axis=1), expected, roundings=FORWARD)


def loss_and_gradients(**changes):
    model = toy_model(**changes)
    graphdef, params = nnx.split(model)

    @jax.jit
    def compute(params):
        return jax.value_and_grad(
            lambda params: jnp.square(full_logits(nnx.merge(graphdef, params), tokens())).mean()
        )(params)

    return compute(params)


def test_scan_and_remat_change_neither_loss_nor_gradients():
    loss, gradients = loss_and_gradients()
    plain = nnx.to_pure_dict(gradients)
    layers = plain.pop("blocks")
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(layers[i] for i in sorted(layers)))
    for layer_loop, remat in (("unroll", "block"), ("scan", "none"), ("scan", "block")):
        other_loss, other = loss_and_gradients(layer_loop=layer_loop, remat=remat)
        other = nnx.to_pure_dict(other)
        blocks = other.pop("blocks")
        expected = loss, stacked if layer_loop == "scan" else layers, plain
        assert_close((other_loss, blocks, other), expected, roundings=3 * FORWARD)


def test_bfloat16_compute_keeps_float32_parameters_and_logits():
    model = toy_model(compute_dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))} == {jnp.dtype("float32")}
    logits = full_logits(model, tokens())
    assert logits.dtype == jnp.float32
    x_BTD, _ = model.hidden(tokens(), positions(), jnp.ones((B, T), jnp.int32))
    assert x_BTD.dtype == jnp.bfloat16
    assert_close(logits, full_logits(toy_model(), tokens()), roundings=IN_BFLOAT16, dtype="bfloat16")
