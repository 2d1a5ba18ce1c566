import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.closeness import assert_close
from tests.composing import composed
from tests.models.families.gemma.toys import gemma_model
from tunix_exp.config import validate
from tunix_exp.models.architecture import abstract
from tunix_exp.models.config import UNBOUNDED
from tunix_exp.models.layers.attention import attend, visible
from tunix_exp.models.layers.cache import Cache, KeysValues, Next, Room, fill

B, T, K, G, H = 3, 11, 2, 2, 4


def random(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("window", [3, UNBOUNDED])
@pytest.mark.parametrize("prompt", [2, 3, 7])
def test_one_token_after_another_gathers_what_whole_rows_gather(window, prompt):
    q, k, v = random(B, T, K * G, H), random(B, T, K, H, seed=1), random(B, T, K, H, seed=2)
    padding_B = np.minimum([0, 1, 5], prompt - 1)
    segments = jnp.asarray((np.arange(T)[None] >= padding_B[:, None]).astype(np.int32))
    settings = {"scale": 0.5, "soft_cap": 1.5}
    expected = attend(q, k, v, visible(segments, window=window), **settings)
    cache = fill([KeysValues(k[:, :prompt], v[:, :prompt])], segments[:, :prompt], Room(T), [window])
    for t in range(prompt, T):
        one = slice(t, t + 1)
        y, layer = Next(cache.layers[0], cache).attend(q[:, one], k[:, one], v[:, one], **settings)
        cache = cache.with_next((layer,))
        assert_close(y, expected[:, one], roundings=H + T)
    assert cache.length_B.tolist() == [T] * B


def test_a_layer_holds_its_window_alone_and_what_was_written_stays_in_place():
    numbers = jnp.broadcast_to(jnp.arange(7.0)[None, :, None, None], (1, 7, 1, 1))
    cache = fill([KeysValues(numbers, numbers)] * 2, jnp.ones((1, 7), jnp.int32), Room(9), [4, UNBOUNDED])
    local, whole = (layer.k_BKSH[0, 0, :, 0].tolist() for layer in cache.layers)
    assert local == [4, 5, 6, 3]
    assert whole == [0, 1, 2, 3, 4, 5, 6, 0, 0]
    eight = jnp.full((1, 1, 1, 1), 8.0)
    after = cache.layers[0].write(eight, eight, jnp.asarray([8]))
    assert after.v_BKSH[0, 0, :, 0].tolist() == [8, 5, 6, 3]


def cache_of(model, prompt, length) -> Cache:
    """The shapes of a model's cache of one row; nothing is computed."""
    graphdef, params = nnx.split(model)
    one_BT = jax.ShapeDtypeStruct((1, prompt), jnp.int32)
    return jax.eval_shape(
        lambda params, one_BT: nnx.merge(graphdef, params).hidden(one_BT, one_BT, one_BT, Room(length))[1],
        params,
        one_BT,
    )


def test_the_local_layers_of_gemma_3_save_three_quarters_of_the_cache_at_4096_tokens():
    config = validate(composed("model=gemma3-1b")).model
    model = abstract(config, param_dtype=jnp.float32, compute_dtype=jnp.bfloat16)
    layers = cache_of(model, prompt=600, length=4096).layers
    places = [layer.k_BKSH.shape[2] for layer in layers]
    assert places == [4096 if (number + 1) % 6 == 0 else 512 for number in range(26)]
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(layers))
    a_slot = 2 * 256 * 2  # a key and a value of one head, bfloat16
    assert size == (4 * 4096 + 22 * 512) * a_slot
    assert size < 0.26 * 26 * 4096 * a_slot


@pytest.mark.parametrize("layer_loop", ["unroll", "scan"])
def test_the_cache_has_the_compute_dtype(layer_loop):
    model = gemma_model("gemma2", compute_dtype=jnp.bfloat16, layer_loop=layer_loop)
    assert {leaf.dtype for leaf in jax.tree.leaves(cache_of(model, 4, 9).layers)} == {jnp.dtype("bfloat16")}


def test_a_cache_takes_one_token_a_row():
    model = gemma_model("gemma2")
    two = jnp.ones((1, 2), jnp.int32)
    _, cache = model.hidden(two, two, two, Room(6))
    with pytest.raises(TypeError, match="reshape"):
        model.hidden(two, two, two, cache)


def test_what_is_neither_keys_nor_values_is_kept_as_it_was_left():
    state = {"a": jnp.ones((1, 5)), "b": (jnp.zeros((1, 2, 5)),)}
    cache = fill([state, None], jnp.ones((1, 7), jnp.int32), Room(9), [4, UNBOUNDED])
    assert cache.layers == (state, None)
