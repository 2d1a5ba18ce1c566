"""Properties of the architecture; tests/models/families/test_goldens.py has the numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.closeness import assert_close, model_roundings
from tests.models.families.recurrent_gemma.toys import recurrent_config, recurrent_model
from tests.models.families.recurrent_gemma.trees import flat
from tests.models.lora_toys import adapted, lora_config
from tests.training.toy import ADAMW
from tunix_exp.models import lora
from tunix_exp.models.architecture import abstract
from tunix_exp.models.digest import weight_hash
from tunix_exp.models.families.recurrent_gemma.plan import cache_bytes
from tunix_exp.models.layers.cache import Room
from tunix_exp.models.paths import path_of
from tunix_exp.models.sharding import spec_of
from tunix_exp.training.optim import decay_mask

B, T = 2, 9
FORWARD = model_roundings(recurrent_config(), T)
IN_BFLOAT16 = 3 * 8  # a layer rounds what it normalises, projects, gathers and adds, twice over
TOKENS = jax.random.randint(jax.random.key(0), (B, T), 0, 31)
POSITIONS = jnp.broadcast_to(jnp.arange(T)[None], (B, T))
ONES = jnp.ones((B, T), jnp.int32)
LOOPS = pytest.mark.parametrize("layer_loop", ["unroll", "scan"])


@nnx.jit
def logits_of(model, tokens_BT, positions_BT, segment_ids_BT):
    return model.logits(model.hidden(tokens_BT, positions_BT, segment_ids_BT)[0])


def reach(model, at):
    """The tokens on which the output at `at` depends: where its gradient is not zero."""

    def output(delta_TD):
        x_BTD = model.embed(TOKENS, POSITIONS)[0] + delta_TD[None]
        x_BTD, _ = model.decode(x_BTD, POSITIONS, ONES)
        return (x_BTD[:, at] * jnp.arange(1.0, model.width + 1)[None]).sum()

    gradient_TD = jax.jit(jax.grad(output))(jnp.zeros((T, model.width)))
    return np.flatnonzero(np.abs(gradient_TD).sum(axis=1)).tolist()


def test_no_output_depends_on_a_later_token_and_the_recurrence_reaches_the_first():
    assert reach(recurrent_model(), at=6) == [0, 1, 2, 3, 4, 5, 6]
    assert reach(recurrent_model(num_layers=1), at=6) == [0, 1, 2, 3, 4, 5, 6]


def test_attention_sees_its_window_with_the_token_itself():
    assert reach(recurrent_model(block_types=("attention",), num_layers=1), at=6) == [4, 5, 6]


@pytest.mark.parametrize("side", ["left", "right"])
@LOOPS
def test_padding_does_not_matter(side, layer_loop):
    model, width = recurrent_model(layer_loop=layer_loop), 5
    pad = [(0, 0), (width, 0) if side == "left" else (0, width)]
    real = slice(width, None) if side == "left" else slice(0, T)
    padded = logits_of(
        model, jnp.pad(TOKENS, pad, constant_values=17), jnp.pad(POSITIONS, pad), jnp.pad(ONES, pad)
    )
    assert jnp.isfinite(padded).all()
    assert_close(padded[:, real], logits_of(model, TOKENS, POSITIONS, ONES), roundings=FORWARD)


@LOOPS
def test_packed_rows_are_those_of_their_own(layer_loop):
    model = recurrent_model(layer_loop=layer_loop)
    positions_BT = jnp.concatenate([POSITIONS[:, :4], POSITIONS[:, : T - 4]], axis=1)
    packed = logits_of(model, TOKENS, positions_BT, ONES.at[:, 4:].set(2))
    alone = [
        logits_of(model, part_BT, POSITIONS[:, : part_BT.shape[1]], jnp.ones_like(part_BT))
        for part_BT in (TOKENS[:, :4], TOKENS[:, 4:])
    ]
    assert_close(packed, jnp.concatenate(alone, axis=1), roundings=FORWARD)


def one_after_another(model, tokens_BT, segment_ids_BT, prompt):
    """Logits of the prompt, then of one token at a time behind its cache, and the cache."""
    graphdef, params = nnx.split(model)
    positions_BT = jnp.maximum(jnp.cumsum(segment_ids_BT, axis=1) - 1, 0)

    @jax.jit
    def begin(params):
        model = nnx.merge(graphdef, params)
        parts = (part[:, :prompt] for part in (tokens_BT, positions_BT, segment_ids_BT))
        x_BTD, cache = model.hidden(*parts, Room(tokens_BT.shape[1]))
        return model.logits(x_BTD), cache

    @jax.jit
    def go_on(params, cache):
        model = nnx.merge(graphdef, params)

        def step(cache, token):
            one_B1 = [part[:, None] for part in token]
            x_B1D, cache = model.hidden(*one_B1, jnp.ones_like(one_B1[0]), cache)
            return cache, model.logits(x_B1D)[:, 0]

        along = [jnp.swapaxes(part[:, prompt:], 0, 1) for part in (tokens_BT, positions_BT)]
        cache, logits_TBV = jax.lax.scan(step, cache, along)
        return jnp.swapaxes(logits_TBV, 0, 1), cache

    first, cache = begin(params)
    others, cache = go_on(params, cache)
    return jnp.concatenate([first, others], axis=1), cache


@pytest.mark.parametrize("prompt", [4, 6])
@LOOPS
def test_decoding_with_the_cache_equals_the_whole_forward(prompt, layer_loop):
    model = recurrent_model(layer_loop=layer_loop)
    segments_BT = jnp.asarray((np.arange(T)[None] >= np.array([0, 3])[:, None]).astype("int32"))
    found, cache = one_after_another(model, TOKENS, segments_BT, prompt)
    positions_BT = jnp.maximum(jnp.cumsum(segments_BT, axis=1) - 1, 0)
    assert_close(found, logits_of(model, TOKENS, positions_BT, segments_BT), roundings=FORWARD)
    assert cache.length_B.tolist() == [T, T]  # padding has slots as well


@pytest.mark.slow
def test_whole_rows_are_what_one_token_after_another_gives_over_4096_tokens():
    model = recurrent_model(num_positions=4096, window=64, init_std=0.2)
    tokens_BT = jax.random.randint(jax.random.key(1), (1, 4096), 0, 31)
    found, _ = one_after_another(model, tokens_BT, jnp.ones_like(tokens_BT), 1)
    expected = logits_of(model, tokens_BT, jnp.arange(4096)[None], jnp.ones_like(tokens_BT))
    assert np.abs(expected).max() > 0.5
    assert np.abs(found - expected).max() <= 1e-5


def kept_bytes(model, slots):
    """What the cache of a row of so many slots holds, and what the plan says of it."""
    graphdef, params = nnx.split(model)
    one_BT = jax.ShapeDtypeStruct((1, 4), jnp.int32)
    cache = jax.eval_shape(
        lambda params, one_BT: nnx.merge(graphdef, params).hidden(one_BT, one_BT, one_BT, Room(slots))[1],
        params,
        one_BT,
    )
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(cache.layers))


@pytest.mark.parametrize("compute_dtype", [jnp.float32, jnp.bfloat16])
def test_the_state_has_as_many_bytes_at_128_tokens_as_at_8192_and_as_the_plan_says(compute_dtype):
    config = recurrent_config(num_positions=8192, window=100)
    model = abstract(config, param_dtype=jnp.float32, compute_dtype=compute_dtype)
    assert kept_bytes(model, 128) == kept_bytes(model, 8192)
    for slots in (4, 50, 128, 8192):
        assert kept_bytes(model, slots) == cache_bytes(config, slots, model.compute_dtype.itemsize)


def test_scan_and_remat_change_neither_loss_nor_gradients_nor_weights():
    def loss_and_gradients(**changes):
        # a round of two, and a layer of another
        kinds = ("recurrent", "attention")
        graphdef, params = nnx.split(recurrent_model(block_types=kinds, num_layers=3, **changes))

        @jax.jit
        @jax.value_and_grad
        def compute(params):
            return jnp.square(logits_of(nnx.merge(graphdef, params), TOKENS, POSITIONS, ONES)).mean()

        loss, gradients = compute(params)
        return weight_hash(params), (loss, flat(gradients))

    hash_, expected = loss_and_gradients()
    for layer_loop, remat in (("unroll", "dots"), ("scan", "block")):
        other, found = loss_and_gradients(layer_loop=layer_loop, remat=remat)
        assert other == hash_
        assert_close(found, expected, roundings=3 * FORWARD)


def test_a_scan_is_one_loop_over_the_rounds():
    graphdef, params = nnx.split(recurrent_model(layer_loop="scan", num_layers=8))
    one = jnp.ones((1, 4), jnp.int32)
    text = str(jax.make_jaxpr(lambda p: nnx.merge(graphdef, p).hidden(one, one, one)[0])(params))
    assert text.count("scan[") == 1
    assert set(params["blocks"]) == {"0::3", "1::3", "2::3", "6", "7"}


def test_the_embedding_s_factor_is_rounded_to_bfloat16_in_float32_too():
    assert recurrent_model().embedding_scale == 5.65625 != 32**0.5


def test_bfloat16_compute_keeps_float32_parameters_and_logits():
    model = recurrent_model(compute_dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))} == {jnp.dtype("float32")}
    logits = logits_of(model, TOKENS, POSITIONS, ONES)
    assert logits.dtype == jnp.float32
    expected = logits_of(recurrent_model(), TOKENS, POSITIONS, ONES)
    assert_close(logits, expected, roundings=IN_BFLOAT16, dtype="bfloat16")


@LOOPS
def test_an_adapter_stands_beside_the_products_of_both_kinds_of_blocks(layer_loop):
    model = abstract(
        recurrent_config(layer_loop=layer_loop), param_dtype=jnp.float32, compute_dtype=jnp.float32
    )

    def names(*targets):
        shapes = lora.attached_shapes(model, lora_config(targets=targets), family="recurrent_gemma")
        return sorted(lora.adapters(shapes))

    prefix = {"unroll": ("0", "1", "3", "4"), "scan": ("0::3", "1::3", "3", "4")}[layer_loop]
    assert names("recurrence") == sorted(
        f"blocks/{at}/recurrence/{part}/kernel" for at in prefix for part in ("input", "gate", "out")
    )
    last = "2" if layer_loop == "unroll" else "2::3"
    assert names("q_proj") == [f"blocks/{last}/attention/query/kernel"]
    assert len(names("all")) == 4 * 6 + 7


def test_an_adapter_is_the_same_in_both_layer_loops():
    config = lora_config(targets=("all",), dropout=0.5)
    graphs = [adapted("recurrent_gemma", config, is_new=True, layer_loop=loop) for loop in ("unroll", "scan")]
    one, other = (lora.split(model)[1] for model in graphs)
    assert weight_hash(one) == weight_hash(other)
    found = []
    for model in graphs:
        trained = lora.split(model)[1]
        filled = jax.tree.map(lambda leaf: leaf + 0.1, trained)
        nnx.update(model, filled)
        lora.drop(model, jax.random.key(3), jnp.arange(B))
        found.append(logits_of(model, TOKENS, POSITIONS, ONES))
    assert_close(*found, roundings=FORWARD)


def test_products_are_split_over_a_mesh_and_matrices_decay():
    config = recurrent_config(layer_loop="scan", vocab_size=32)
    params = nnx.state(abstract(config, param_dtype=jnp.float32, compute_dtype=jnp.float32))
    mesh = jax.sharding.AbstractMesh((1, 2, 2), ("data", "fsdp", "tensor"))
    leaves = [(path_of(keys), leaf) for keys, leaf in jax.tree_util.tree_leaves_with_path(params)]
    split = {path for path, leaf in leaves if any(spec_of(path, leaf.shape, mesh))}
    matrices = ("kernel", "embedding", "_weight")
    assert split == {path for path, _ in leaves if path.endswith(matrices)}
    masks = jax.tree_util.tree_leaves_with_path(decay_mask(ADAMW, params))
    assert {path_of(keys) for keys, decays in masks if decays} == split
