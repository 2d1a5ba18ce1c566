import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.closeness import assert_close
from tests.models.toys import toy_model
from tunix_exp.models.layers.stack import make_blocks, run_blocks, unstacked
from tunix_exp.models.paths import is_stacked, layer_paths, path_of, place_of


def test_scan_stores_what_unroll_stores_stacked():
    plain = nnx.to_pure_dict(nnx.state(toy_model(layer_loop="unroll")))
    stacked = nnx.to_pure_dict(nnx.state(toy_model(layer_loop="scan")))
    layers = plain["blocks"]
    plain["blocks"] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(layers[i] for i in range(3)))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), plain, stacked))


def test_scan_compiles_one_loop_whatever_the_number_of_layers():
    def program(num_layers):
        graphdef, params = nnx.split(toy_model(layer_loop="scan", num_layers=num_layers))
        one = jnp.ones((1, 4), jnp.int32)
        return str(jax.make_jaxpr(lambda p: nnx.merge(graphdef, p).hidden(one, one, one)[0])(params))

    assert program(2).count("scan[") == 1
    assert len(program(2).splitlines()) == len(program(5).splitlines())


def test_remat_wraps_every_block_in_a_checkpoint():
    graphdef, params = nnx.split(toy_model(remat="block"))
    one = jnp.ones((1, 4), jnp.int32)
    text = str(jax.make_jaxpr(lambda p: nnx.merge(graphdef, p).hidden(one, one, one)[0])(params))
    assert text.count("prevent_cse=") == 3


class Factor(nnx.Module):
    def __init__(self):
        self.factor = nnx.Param(jnp.ones(4))

    def __call__(self, x_BTD, told):
        return x_BTD * self.factor[...][None, None] * told, x_BTD[0, 0, 0]


class Sum(nnx.Module):
    def __init__(self):
        self.first, self.second = nnx.Param(jnp.zeros(())), nnx.Param(jnp.zeros((2, 4)))

    def __call__(self, x_BTD, told):
        return x_BTD + (self.first[...] + self.second[...][0] * told)[None, None], x_BTD[0, 0, 0]


def two_kinds(num_layers, layer_loop):
    """Blocks of two kinds, two of the one to one of the other, each layer with its own numbers."""
    blocks = make_blocks((Factor, Factor, Sum), num_layers, layer_loop=layer_loop)

    def numbered(keys, leaf):
        place = place_of("blocks/" + path_of(keys))
        if place.step is None:
            return leaf + place.first / 4
        return jnp.stack([one + layer / 4 for one, layer in zip(leaf, place.layers(len(leaf)), strict=True)])

    graphdef, params = nnx.split(blocks)
    return nnx.merge(graphdef, jax.tree_util.tree_map_with_path(numbered, params))


def ran(blocks, num_layers, remat="none"):
    told = [np.float32(1 + layer / 10) for layer in range(num_layers)]
    x_BTD = jnp.arange(8.0).reshape(1, 2, 4) / 8 + 1
    return run_blocks(blocks, x_BTD, lambda block, x, told: block(x, told), told, remat=remat)


@pytest.mark.parametrize("num_layers", [2, 3, 7, 8])
def test_kinds_of_blocks_come_round_alike_in_both_loops(num_layers):
    plain = two_kinds(num_layers, "unroll")
    kinds = [type(block) for block in plain]
    assert kinds == ([Factor, Factor, Sum] * 3)[:num_layers]
    expected = ran(plain, num_layers)
    assert len(expected[1]) == num_layers
    stacked = two_kinds(num_layers, "scan")
    for found in (ran(stacked, num_layers), ran(unstacked(stacked), num_layers)):
        assert_close(found, expected, roundings=3 * num_layers)


def test_kinds_that_come_round_are_one_loop_however_often_they_do():
    def program(num_layers):
        blocks = two_kinds(num_layers, "scan")
        return str(jax.make_jaxpr(lambda blocks: ran(blocks, num_layers, "block")[0])(blocks))

    for text in (program(5), program(11)):
        assert text.count("scan[") == 1
        assert text.count("prevent_cse=") == 3 + 2  # of a round, and of the two layers behind the last one


def test_gradients_of_kinds_that_come_round_are_those_of_single_blocks():
    def gradients(layer_loop):
        graphdef, params = nnx.split(two_kinds(7, layer_loop))
        found = jax.grad(lambda params: ran(nnx.merge(graphdef, params), 7, "block")[0].sum())(params)
        return {name: np.asarray(leaf) for name, leaf in single_leaves(found)}

    assert_close(gradients("scan"), gradients("unroll"), roundings=3 * 7)


def single_leaves(params):
    for keys, leaf in jax.tree_util.tree_leaves_with_path(params):
        path = "blocks/" + path_of(keys)
        yield from (
            zip(layer_paths(path, len(leaf)), leaf, strict=True) if is_stacked(path) else [(path, leaf)]
        )
