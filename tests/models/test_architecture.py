import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.closeness import assert_close
from tests.models.toys import toy_config, toy_model
from tunix_exp.models.architecture import abstract, build, initial
from tunix_exp.models.layers.dense import Begin
from tunix_exp.training.compiles import CompileCount


def paths(model):
    return {"/".join(map(str, path)): leaf for path, leaf in nnx.to_flat_state(nnx.state(model))}


@pytest.mark.parametrize(
    ("layer_loop", "path", "shape"),
    [
        ("unroll", "blocks/0/attention/qkv/kernel", (16, 48)),
        ("scan", "blocks/attention/qkv/kernel", (3, 16, 48)),
    ],
)
def test_parameter_paths_can_be_read(layer_loop, path, shape):
    assert paths(toy_model(layer_loop=layer_loop))[path].shape == shape


@pytest.mark.parametrize("layer_loop", ["unroll", "scan"])
def test_the_abstract_model_has_the_shapes_of_the_built_one_and_no_arrays(layer_loop):
    config = toy_config(layer_loop=layer_loop)
    shapes = abstract(config, param_dtype=jnp.bfloat16, compute_dtype=jnp.float32)
    model = toy_model(layer_loop=layer_loop, param_dtype=jnp.bfloat16)
    assert nnx.split(shapes)[0] == nnx.split(model)[0]
    assert {type(leaf) for leaf in jax.tree.leaves(nnx.state(shapes))} == {jax.ShapeDtypeStruct}
    assert {p: (a.shape, a.dtype) for p, a in paths(shapes).items()} == {
        p: (a.shape, a.dtype) for p, a in paths(model).items()
    }


def test_everything_in_the_model_is_a_parameter():
    model = toy_model()
    assert len(jax.tree.leaves(nnx.state(model))) == len(jax.tree.leaves(nnx.state(model, nnx.Param)))


def test_initial_values_follow_the_gpt2_scheme():
    model = toy_model(width=64, mlp_width=256, vocab_size=500, num_layers=8, init_std=0.02)
    residual = 0.02 / math.sqrt(2 * 8)
    for path, leaf in paths(model).items():
        values = np.asarray(leaf[...])
        if path.endswith("bias"):
            assert (values == 0).all(), path
        elif path.endswith("scale"):
            assert (values == 1).all(), path
        else:
            std = residual if "/out/" in path or "/down/" in path else 0.02
            assert values.std() == pytest.approx(std, rel=0.1), path
            assert abs(values.mean()) < std / 5, path


def test_the_seed_decides_the_values():
    def first(seed):
        return np.asarray(toy_model(seed=seed).token_embedding.embedding[...])

    again = build(toy_config(), param_dtype=jnp.float32, compute_dtype=jnp.float32, seed=3)
    np.testing.assert_array_equal(again.token_embedding.embedding[...], first(3))
    assert (first(3) != first(0)).any()


def test_every_parameter_of_every_layer_has_a_stream_of_its_own():
    drawn = [np.asarray(leaf[...]).ravel()[:8] for leaf in paths(toy_model()).values()]
    drawn = [tuple(values) for values in drawn if np.unique(values).size > 1]
    assert len(drawn) == 2 + 3 * 4
    assert len(set(drawn)) == len(drawn)


def test_a_seed_draws_the_same_values_for_ever():
    values = initial("blocks/1/mlp/up/kernel", (2, 2), Begin(mean=1.0, std=0.5), seed=7)
    assert_close(values, np.array([[0.13316327, 1.1323577], [1.3158743, 1.2098246]]), roundings=4)


def test_drawing_compiles_nothing():
    compiles = CompileCount()
    build(toy_config(width=38), param_dtype=jnp.bfloat16, compute_dtype=jnp.float32, seed=5)
    compiles.close()
    assert compiles.count == 0


def test_bfloat16_parameters_are_the_rounded_float32_ones():
    exact = nnx.state(toy_model(param_dtype=jnp.float32))
    rounded = nnx.state(toy_model(param_dtype=jnp.bfloat16))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a.astype(jnp.bfloat16) == b).all()), exact, rounded))
