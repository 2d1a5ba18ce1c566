import jax
import jax.numpy as jnp
from flax import nnx

from tests.models.toys import toy_model


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
