"""Properties of the architecture; tests/models/families/test_goldens.py has the numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.closeness import assert_close, model_roundings
from tests.models.families.llama.toys import llama_config, llama_model
from tunix_exp.models.layers.cache import Room

FAMILIES = ("llama", "qwen2", "qwen3", "smollm3")
B, T = 2, 9
FORWARD = model_roundings(llama_config("llama"), T)
IN_BFLOAT16 = 3 * 8  # a layer rounds what it normalises, projects, gathers and adds, twice over
TOKENS = jax.random.randint(jax.random.key(0), (B, T), 0, 31)
POSITIONS = jnp.broadcast_to(jnp.arange(T)[None], (B, T))
ONES = jnp.ones((B, T), jnp.int32)


@nnx.jit
def logits_of(model, tokens_BT, positions_BT, segment_ids_BT):
    return model.logits(model.hidden(tokens_BT, positions_BT, segment_ids_BT)[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_no_output_depends_on_a_later_token(family):
    model = llama_model(family)

    def output(delta_TD):
        x_BTD = model.embed(TOKENS, POSITIONS)[0] + delta_TD[None]
        x_BTD, _ = model.decode(x_BTD, POSITIONS, ONES)
        return (x_BTD[:, 6] * jnp.arange(1.0, model.width + 1)[None]).sum()

    gradient_TD = jax.jit(jax.grad(output))(jnp.zeros((T, model.width)))
    assert np.flatnonzero(np.abs(gradient_TD).sum(axis=1)).tolist() == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_padding_does_not_matter(family, side):
    model, width = llama_model(family), 5
    pad = [(0, 0), (width, 0) if side == "left" else (0, width)]
    real = slice(width, None) if side == "left" else slice(0, T)
    padded = logits_of(
        model, jnp.pad(TOKENS, pad, constant_values=17), jnp.pad(POSITIONS, pad), jnp.pad(ONES, pad)
    )
    assert jnp.isfinite(padded).all()
    assert_close(padded[:, real], logits_of(model, TOKENS, POSITIONS, ONES), roundings=FORWARD)


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_are_those_of_their_own(family):
    model = llama_model(family)
    positions_BT = jnp.concatenate([POSITIONS[:, :4], POSITIONS[:, : T - 4]], axis=1)
    packed = logits_of(model, TOKENS, positions_BT, ONES.at[:, 4:].set(2))
    alone = [
        logits_of(model, part_BT, POSITIONS[:, : part_BT.shape[1]], jnp.ones_like(part_BT))
        for part_BT in (TOKENS[:, :4], TOKENS[:, 4:])
    ]
    assert_close(packed, jnp.concatenate(alone, axis=1), roundings=FORWARD)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layer_loop", ["unroll", "scan"])
def test_decoding_with_the_cache_equals_the_whole_forward(family, layer_loop):
    model = llama_model(family, layer_loop=layer_loop)
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
        logits, cache = step(params, TOKENS[:, part], positions_BT[:, part], segments_BT[:, part], cache)
        seen.append(logits)
    expected = logits_of(model, TOKENS, positions_BT, segments_BT)
    assert_close(jnp.concatenate(seen, axis=1), expected, roundings=FORWARD)


def test_without_a_rotated_layer_the_order_of_positions_means_nothing():
    model = llama_model("smollm3", unrotated_every=1)
    expected = logits_of(model, TOKENS, POSITIONS, ONES)
    np.testing.assert_array_equal(logits_of(model, TOKENS, POSITIONS * 2 + 5, ONES), expected)
    rotated = llama_model("smollm3")
    near, far = (logits_of(rotated, TOKENS, positions, ONES) for positions in (POSITIONS, POSITIONS * 2))
    assert float(jnp.abs(far - near).max()) > 0.01


@pytest.mark.parametrize(
    ("family", "norms", "biases"),
    [
        ("llama", set(), set()),
        ("qwen2", set(), {"query", "key", "value"}),
        ("qwen3", {"query_norm", "key_norm"}, set()),
        ("smollm3", set(), set()),
    ],
)
def test_a_family_has_its_norms_and_biases_which_begin_as_one_and_zero(family, norms, biases):
    state = nnx.to_flat_state(nnx.state(llama_model(family)))
    leaves = {tuple(map(str, path)): np.asarray(leaf[...]) for path, leaf in state}
    scales = {path[-2]: leaf for path, leaf in leaves.items() if path[-1] == "scale"}
    found = {path[-2]: leaf for path, leaf in leaves.items() if path[-1] == "bias"}
    assert scales.keys() == norms | {"attention_norm", "mlp_norm", "final_norm"}
    assert found.keys() == biases
    assert all((leaf == 1).all() for leaf in scales.values())
    assert all((leaf == 0).all() for leaf in found.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_random_weights_begin_as_transformers_draws_them(family):
    model = llama_model(family, width=48, mlp_width=96, init_std=0.02)
    for keys, leaf in nnx.to_flat_state(nnx.state(model)):
        if keys[-1] in ("kernel", "embedding"):
            assert float(jnp.std(leaf[...])) == pytest.approx(0.02, rel=0.1), keys


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_compute_keeps_float32_parameters_and_logits(family):
    model = llama_model(family, compute_dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))} == {jnp.dtype("float32")}
    logits = logits_of(model, TOKENS, POSITIONS, ONES)
    assert logits.dtype == jnp.float32
    assert model.hidden(TOKENS, POSITIONS, ONES)[0].dtype == jnp.bfloat16
    expected = logits_of(llama_model(family), TOKENS, POSITIONS, ONES)
    assert_close(logits, expected, roundings=IN_BFLOAT16, dtype="bfloat16")
