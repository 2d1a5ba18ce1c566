"""Properties of the architecture; test_goldens.py beside it has the numbers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.ad_checkpoint import print_saved_residuals

from tests.closeness import assert_close, model_roundings
from tests.models.families.gemma.toys import gemma_config, gemma_model
from tunix_exp.models.architecture import abstract
from tunix_exp.models.layers.cache import Room

FAMILIES = ("gemma", "gemma2", "gemma3")
B, T = 2, 9
FORWARD = model_roundings(gemma_config("gemma"), T)
IN_BFLOAT16 = 3 * 8  # a layer rounds what it normalises, projects, gathers and adds, twice over


def tokens(shape=(B, T)):
    return jax.random.randint(jax.random.key(0), shape, 0, 31)


def positions(shape=(B, T)):
    return jnp.broadcast_to(jnp.arange(shape[1])[None], shape)


@nnx.jit
def logits_of(model, tokens_BT, positions_BT, segment_ids_BT):
    return model.logits(model.hidden(tokens_BT, positions_BT, segment_ids_BT)[0])


def full_logits(model, tokens_BT):
    shape = tokens_BT.shape
    return logits_of(model, tokens_BT, positions(shape), jnp.ones(shape, jnp.int32))


def reach(model, at):
    """Where the gradient of the output at `at` is not zero: the tokens that it depends on."""

    def output(delta_TD):
        x_BTD = model.embed(tokens(), positions())[0] + delta_TD[None]
        x_BTD, _ = model.decode(x_BTD, positions(), jnp.ones((B, T), jnp.int32))
        return (x_BTD[:, at] * jnp.arange(1.0, model.width + 1)[None]).sum()

    gradient_TD = jax.jit(jax.grad(output))(jnp.zeros((T, model.width)))
    return np.flatnonzero(np.abs(gradient_TD).sum(axis=1)).tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_no_output_depends_on_a_later_token(family):
    assert reach(gemma_model(family), at=6) == [0, 1, 2, 3, 4, 5, 6]


def test_a_global_layer_sees_all_before():
    assert reach(
        gemma_model("gemma3", num_layers=1, global_every=1, window=None, rope_local_base=None), at=8
    ) == [*range(9)]


@pytest.mark.parametrize(("num_layers", "seen"), [(1, [4, 5, 6]), (2, [2, 3, 4, 5, 6])])
def test_a_local_layer_sees_its_window_with_the_token_itself(num_layers, seen):
    model = gemma_model("gemma3", num_layers=num_layers)  # the third would be global
    assert reach(model, at=6) == seen


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_matter_even_beyond_the_window(side):
    model, width = gemma_model("gemma2"), 5
    pad = [(0, 0), (width, 0) if side == "left" else (0, width)]
    real = slice(width, None) if side == "left" else slice(0, T)
    padded = logits_of(
        model,
        jnp.pad(tokens(), pad, constant_values=17),
        jnp.pad(positions(), pad),
        jnp.pad(jnp.ones((B, T), jnp.int32), pad),
    )
    assert jnp.isfinite(padded).all()
    assert_close(padded[:, real], full_logits(model, tokens()), roundings=FORWARD)


@pytest.mark.parametrize(("family", "layer_loop"), [("gemma2", "unroll"), ("gemma3", "scan")])
def test_decoding_with_the_cache_equals_the_whole_forward(family, layer_loop):
    model = gemma_model(family, layer_loop=layer_loop)
    graphdef, params = nnx.split(model)
    slots_BT = np.arange(T)[None] - np.array([0, 3])[:, None]  # the second row has three slots of padding
    positions_BT = jnp.asarray(np.maximum(slots_BT, 0))
    segments_BT = jnp.asarray((slots_BT >= 0).astype("int32"))

    @jax.jit
    def step(params, tokens_BT, positions_BT, segments_BT, cache):
        model = nnx.merge(graphdef, params)
        x_BTD, cache = model.hidden(tokens_BT, positions_BT, segments_BT, cache)
        return model.logits(x_BTD), cache

    cache, seen = Room(T + 2), []
    for part in (slice(0, 4), *(slice(t, t + 1) for t in range(4, T))):
        logits, cache = step(params, tokens()[:, part], positions_BT[:, part], segments_BT[:, part], cache)
        seen.append(logits)
    assert cache.length_B.tolist() == [T, T]  # padding has slots as well
    expected = logits_of(model, tokens(), positions_BT, segments_BT)
    assert_close(jnp.concatenate(seen, axis=1), expected, roundings=FORWARD)


@pytest.mark.slow
def test_scan_and_remat_change_neither_loss_nor_gradients():
    def loss_and_gradients(**changes):
        graphdef, params = nnx.split(gemma_model("gemma3", num_layers=2, global_every=2, **changes))

        @jax.jit
        @jax.value_and_grad
        def compute(params):
            return jnp.square(full_logits(nnx.merge(graphdef, params), tokens())).mean()

        loss, gradients = compute(params)
        return loss, nnx.to_pure_dict(gradients)

    loss, plain = loss_and_gradients()
    layers = plain.pop("blocks")
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(layers[i] for i in sorted(layers)))
    for layer_loop, remat in (("unroll", "dots"), ("scan", "block")):
        other_loss, other = loss_and_gradients(layer_loop=layer_loop, remat=remat)
        blocks = other.pop("blocks")
        expected = loss, stacked if layer_loop == "scan" else layers, plain
        assert_close((other_loss, blocks, other), expected, roundings=3 * FORWARD)


def test_a_scan_is_one_loop_though_its_layers_differ():
    graphdef, params = nnx.split(gemma_model("gemma3", layer_loop="scan"))
    one = jnp.ones((1, 4), jnp.int32)
    text = str(jax.make_jaxpr(lambda p: nnx.merge(graphdef, p).hidden(one, one, one)[0])(params))
    assert text.count("scan[") == 1


@pytest.mark.parametrize(("remat", "products"), [("block", 0), ("dots", 6)])
def test_a_remat_policy_saves_what_its_name_says(remat, products, capsys):
    """Query, key, value, out, gate and up; not down, on which no gradient depends, nor attention's own."""
    graphdef, params = nnx.split(gemma_model("gemma", num_layers=1, remat=remat))

    def outputs(params):
        return nnx.merge(graphdef, params).hidden(tokens(), positions(), jnp.ones((B, T), jnp.int32))[0]

    print_saved_residuals(outputs, params)
    assert capsys.readouterr().out.count("named 'product'") == products


def test_the_embedding_is_scaled_by_the_root_of_the_width_as_the_compute_dtype_has_it():
    captured = []
    model = nnx.clone(gemma_model("gemma", width=20, compute_dtype=jnp.bfloat16, num_layers=1))
    block = model.blocks[0]
    model.blocks = nnx.List([Recorder(block, captured)])
    model.hidden(tokens(), positions(), jnp.ones((B, T), jnp.int32))
    rows_BTD = model.token_embedding(tokens())
    assert float(jnp.asarray(math.sqrt(20), jnp.bfloat16)) != math.sqrt(20)
    np.testing.assert_array_equal(captured[0], rows_BTD * jnp.asarray(math.sqrt(20), jnp.bfloat16))


class Recorder(nnx.Module):
    """A block that keeps what it was given."""

    def __init__(self, block, captured):
        self.block = block
        self.keep = captured.append

    def __call__(self, x_BTD, *rest):
        self.keep(np.asarray(x_BTD))
        return self.block(x_BTD, *rest)


@pytest.mark.parametrize(
    ("family", "norms"),
    [
        ("gemma", {"attention_norm", "mlp_norm"}),
        ("gemma2", {"attention_norm", "attention_post_norm", "mlp_norm", "mlp_post_norm"}),
        (
            "gemma3",
            {
                "attention_norm",
                "attention_post_norm",
                "mlp_norm",
                "mlp_post_norm",
                "key_norm",
                "query_norm",
            },
        ),
    ],
)
def test_a_family_has_its_norms_and_no_biases(family, norms):
    shapes = abstract(gemma_config(family), param_dtype=jnp.float32, compute_dtype=jnp.float32)
    paths = [list(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(shapes))]
    assert {path[-2] for path in paths if path[-1] == "scale"} == norms | {"final_norm"}
    assert {path[-1] for path in paths} == {"kernel", "scale", "embedding"}


def test_bfloat16_compute_keeps_float32_parameters_and_logits():
    model = gemma_model("gemma3", compute_dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))} == {jnp.dtype("float32")}
    logits = full_logits(model, tokens())
    assert logits.dtype == jnp.float32
    x_BTD, _ = model.hidden(tokens(), positions(), jnp.ones((B, T), jnp.int32))
    assert x_BTD.dtype == jnp.bfloat16
    expected = full_logits(gemma_model("gemma3"), tokens())
    assert_close(logits, expected, roundings=IN_BFLOAT16, dtype="bfloat16")
