import jax
import jax.numpy as jnp
from flax import nnx

from tests.models.toys import toy_config, toy_model
from tunix_exp.models.architecture import abstract
from tunix_exp.models.digest import parameter_count, weight_hash


def hash_of(**changes):
    return weight_hash(nnx.state(toy_model(**changes)))


def changed(path, change):
    """The hash after `change` of the one parameter under `path`."""
    state = nnx.state(toy_model())
    return weight_hash(
        jax.tree_util.tree_map_with_path(
            lambda keys, leaf: change(leaf) if jax.tree_util.keystr(keys).count(path) else leaf, state
        )
    )


def test_equal_parameters_have_an_equal_hash():
    assert hash_of() == changed("nothing", lambda leaf: leaf)
    assert len(hash_of()) == 64


def test_the_layer_loop_does_not_change_the_hash():
    assert hash_of(layer_loop="scan") == hash_of(layer_loop="unroll")


def test_a_changed_bit_dtype_or_shape_changes_the_hash():
    whole = hash_of()
    assert changed("final_norm']['bias", lambda leaf: leaf.at[3].set(1e-30)) != whole
    assert changed("final_norm']['bias", lambda leaf: leaf.astype(jnp.int32)) != whole
    assert changed("token_embedding", lambda leaf: leaf.reshape(16, 31)) != whole


def test_layers_that_change_places_change_the_hash():
    state = nnx.state(toy_model(layer_loop="scan"))
    assert weight_hash(jax.tree.map(lambda leaf: leaf[::-1], state)) != hash_of()


def test_parameters_are_counted_in_arrays_and_in_shapes():
    block = (16 * 48 + 48) + (16 * 16 + 16) + (16 * 48 + 48) + (48 * 16 + 16) + 4 * 16
    expected = 31 * 16 + 24 * 16 + 3 * block + 2 * 16
    for layer_loop in ("unroll", "scan"):
        assert parameter_count(nnx.state(toy_model(layer_loop=layer_loop))) == expected
        shapes = abstract(
            toy_config(layer_loop=layer_loop), param_dtype=jnp.float32, compute_dtype=jnp.float32
        )
        assert parameter_count(nnx.state(shapes)) == expected
