"""A model held in eight or four bits: what is quantized, and that it is the same however it is loaded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.closeness import assert_close, model_roundings
from tests.models.families.goldens import GOLDENS, golden_config
from tests.models.lora_toys import logits_of, lora_config
from tests.models.toys import toy_config
from tunix_exp.errors import UserError
from tunix_exp.evaluation.generate import generate
from tunix_exp.models import lora, weights
from tunix_exp.models.architecture import abstract
from tunix_exp.models.digest import parameter_count, weight_hash
from tunix_exp.models.layers.quantized import quantized
from tunix_exp.models.paths import path_of
from tunix_exp.models.quantize import quantized_shapes

KINDS = ("int8", "nf4")
SIZES = {"width": 32, "mlp_width": 64, "num_heads": 4}
DTYPES = {"param_dtype": "float32", "compute_dtype": "float32"}
TOKENS_BT = jnp.asarray(np.random.default_rng(0).integers(1, 30, (2, 9)), jnp.int32)


def loaded(kind, **changes):
    config = toy_config(**SIZES, quantize=kind, **changes)
    return weights.load(config, lora_config(targets=("all",)), **DTYPES, seed=0).model


def leaves(model):
    found = jax.tree_util.tree_leaves_with_path(lora.own_parameters(model))
    return {path_of(keys): np.asarray(leaf) for keys, leaf in found}


@pytest.mark.parametrize("kind", KINDS)
def test_products_are_quantized_and_all_else_is_what_it_was(kind):
    plain, held = leaves(loaded(None)), leaves(loaded(kind))
    for path, values in plain.items():
        if path.endswith("/kernel"):
            codes, scales = quantized(jnp.asarray(values), kind)
            np.testing.assert_array_equal(held.pop(path), codes)
            assert_close(held.pop(path.replace("/kernel", "/scales")), scales, roundings=1)
        else:
            np.testing.assert_array_equal(held.pop(path), values)
    assert not held


@pytest.mark.parametrize("kind", KINDS)
def test_both_layer_loops_hold_and_compute_the_same(kind):
    one, other = (loaded(kind, layer_loop=loop) for loop in ("unroll", "scan"))
    hashes = [weight_hash(lora.own_parameters(model)) for model in (one, other)]
    assert hashes[0] == hashes[1] != weight_hash(lora.own_parameters(loaded(None)))
    bound = model_roundings(toy_config(**SIZES), 9)
    assert_close(logits_of(one, TOKENS_BT), logits_of(other, TOKENS_BT), roundings=bound)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loop", ["unroll", "scan"])
def test_the_shapes_that_a_plan_is_made_of_are_those_of_the_values(kind, loop):
    config = toy_config(**SIZES, quantize=kind, layer_loop=loop)
    shapes = lora.attached_shapes(
        quantized_shapes(abstract(config, **DTYPES), config), lora_config(targets=("all",)), family="gpt2"
    )
    foreseen, made = lora.split(shapes), lora.split(loaded(kind, layer_loop=loop))
    assert foreseen[0] == made[0]
    same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), foreseen[1:], made[1:])
    assert jax.tree.all(same)
    plain = loaded(None, layer_loop=loop)
    counts = {parameter_count(lora.own_parameters(model)) for model in (shapes, loaded(kind), plain)}
    assert len(counts) == 1


@pytest.mark.parametrize("loop", ["unroll", "scan"])
def test_a_folder_is_quantized_while_it_is_read(loop):
    config = golden_config("gpt2").model_copy(
        update={"weights": str(GOLDENS / "gpt2"), "layer_loop": loop, "quantize": "nf4"}
    )
    plain = weights.load(config.model_copy(update={"quantize": None}), lora_config(), **DTYPES, seed=0).model
    held = leaves(weights.load(config, lora_config(), **DTYPES, seed=0).model)
    for path, values in leaves(plain).items():
        expected = quantized(jnp.asarray(values), "nf4")[0] if path.endswith("/kernel") else values
        np.testing.assert_array_equal(held[path], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_it_answers_by_the_weights_that_its_codes_stand_for_merged_or_not(kind):
    model = loaded(kind, layer_loop="scan")
    graphdef, trained, frozen = lora.split(model)
    model = nnx.merge(graphdef, jax.tree.map(lambda half: half + 0.02, trained), *frozen)
    merged = lora.merged(model)
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(merged))} == {jnp.dtype("float32")}
    bound = model_roundings(toy_config(**SIZES), 9)
    assert_close(logits_of(merged, TOKENS_BT), logits_of(model, TOKENS_BT), roundings=bound)
    answers = [
        generate(one, [[3, 5, 7], [9, 2]], max_new_tokens=8, eos_ids=(), pad_id=0, batch_size=2)
        for one in (model, merged)
    ]
    assert answers[0] == answers[1]


def test_inputs_that_leave_no_group_of_a_useful_size_are_refused():
    config = toy_config(width=12, mlp_width=48, num_heads=2, quantize="nf4")
    says = r"(?s)model\.quantize=nf4 .* multiple of 16 .*attention/qkv has 12, .*model\.quantize=null"
    with pytest.raises(UserError, match=says):
        quantized_shapes(abstract(config, **DTYPES), config)
