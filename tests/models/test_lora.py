import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P

from tests.closeness import assert_close, model_roundings
from tests.models.lora_toys import adapted, logits_of, lora_config
from tests.models.toys import toy_config, toy_model
from tunix_exp.evaluation.generate import generate
from tunix_exp.models import lora
from tunix_exp.models.adapter import NoAdapterConfig
from tunix_exp.models.architecture import abstract
from tunix_exp.models.digest import weight_hash
from tunix_exp.models.paths import path_of
from tunix_exp.models.sharding import spec_of

TOKENS_BT = jnp.asarray(np.random.default_rng(0).integers(1, 30, (2, 9)), jnp.int32)
FORWARD = model_roundings(toy_config(), 9)


def leaves_by_path(tree):
    return {path_of(keys): np.asarray(leaf) for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def test_a_new_adapter_leaves_the_model_what_it_was():
    np.testing.assert_array_equal(
        logits_of(adapted(is_new=True), TOKENS_BT), logits_of(toy_model(), TOKENS_BT)
    )


def test_a_trained_adapter_does_not():
    assert np.abs(logits_of(adapted(), TOKENS_BT) - logits_of(toy_model(), TOKENS_BT)).max() > 0.1


def test_a_is_uniform_within_one_over_the_root_of_its_inputs_and_b_is_zero():
    _, trained, _ = lora.split(adapted(config=lora_config(targets=("all",), rank=64), is_new=True))
    for path, values in leaves_by_path(trained).items():
        assert values.dtype == np.float32
        if path.endswith("/b"):
            assert not values.any()
        else:
            bound = values.shape[0] ** -0.5
            assert 0.97 * bound < np.abs(values).max() <= bound
            assert values.std() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_every_layer_and_every_seed_draws_its_own_values():
    config = lora_config(targets=("all",))
    drawn = [
        values[:16].tobytes()
        for seed in (0, 1)
        for path, values in leaves_by_path(
            lora.split(adapted(config=config, seed=seed, is_new=True))[1]
        ).items()
        if path.endswith("/a")
    ]
    assert len(drawn) == len(set(drawn)) == 2 * 3 * 4


def test_both_layer_loops_draw_the_same_and_compute_the_same():
    config = lora_config(targets=("all",))
    hashes, logits = [], []
    for loop in ("unroll", "scan"):
        new = adapted(config=config, is_new=True, layer_loop=loop)
        hashes.append([weight_hash(part) for part in (lora.split(new)[1], lora.own_parameters(new))])
        lora_with_values = nnx.clone(new)
        for _, node in nnx.iter_graph(lora_with_values):
            if isinstance(node, lora.LoRA):
                node.b[...] = jnp.full_like(node.b[...], 0.1)
        logits.append(logits_of(lora_with_values, TOKENS_BT))
    assert hashes[0] == hashes[1]
    assert_close(*logits, roundings=FORWARD)


def test_what_other_targets_draw_changes_no_target_s_values():
    few = leaves_by_path(lora.split(adapted(is_new=True))[1])
    many = leaves_by_path(lora.split(adapted(config=lora_config(targets=("all",)), is_new=True))[1])
    assert few.keys() < many.keys()
    for path, values in few.items():
        np.testing.assert_array_equal(values, many[path])


def test_without_an_adapter_everything_is_trained_and_nothing_frozen():
    model = nnx.clone(toy_model())
    lora.attach(model, NoAdapterConfig(name="none"), family="gpt2", seed=0)
    graphdef, trained, frozen = lora.split(model)
    assert frozen == ()
    assert graphdef == nnx.split(toy_model())[0]
    assert (
        weight_hash(trained) == weight_hash(nnx.state(toy_model())) == weight_hash(lora.own_parameters(model))
    )


def test_with_one_the_model_s_own_parameters_are_frozen():
    _, trained, (frozen,) = lora.split(adapted())
    assert {path.split("/")[-2] for path in leaves_by_path(trained)} == {"lora"}
    assert weight_hash(frozen) == weight_hash(nnx.state(toy_model()))


def test_shapes_are_those_of_the_values():
    for loop in ("unroll", "scan"):
        shapes = abstract(toy_config(layer_loop=loop), param_dtype="bfloat16", compute_dtype="float32")
        foreseen = lora.split(lora.attached_shapes(shapes, lora_config(), family="gpt2"))
        made = lora.split(adapted(is_new=True, layer_loop=loop, param_dtype=jnp.bfloat16))
        assert foreseen[0] == made[0]
        same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), foreseen[1:], made[1:])
        assert jax.tree.all(same)


@pytest.mark.parametrize(("family", "loop"), [("gpt2", "unroll"), ("gemma2", "scan")])
def test_merged_or_not_the_model_gives_the_same_tokens(family, loop):
    model = adapted(family, lora_config(targets=("all",)), layer_loop=loop)
    merged = lora.merged(model)
    assert_close(logits_of(merged, TOKENS_BT), logits_of(model, TOKENS_BT), roundings=FORWARD)
    answers = [
        generate(one, [[3, 5, 7], [9, 2]], max_new_tokens=8, eos_ids=(), pad_id=0, batch_size=2)
        for one in (model, merged)
    ]
    assert answers[0] == answers[1]


def test_merging_leaves_the_model_alone_and_shares_what_it_does_not_change():
    model = adapted()
    before = weight_hash(nnx.state(model))
    merged = lora.merged(model)
    assert weight_hash(nnx.state(model)) == before
    assert nnx.split(merged)[0] == nnx.split(toy_model())[0]
    assert merged.token_embedding.embedding[...] is model.token_embedding.embedding[...]


def test_a_merged_kernel_keeps_its_dtype_or_for_evaluation_is_float32():
    model = adapted(param_dtype=jnp.bfloat16)
    kept = lora.merged(model).blocks[0].attention
    assert kept.qkv.kernel.dtype == kept.out.kernel.dtype == jnp.bfloat16
    asked = lora.for_evaluation(model, lora_config(merge_for_eval=True))
    assert asked.blocks[0].attention.qkv.kernel.dtype == jnp.float32
    assert asked.blocks[0].mlp.up.kernel.dtype == jnp.bfloat16
    assert_close(logits_of(asked, TOKENS_BT), logits_of(model, TOKENS_BT), roundings=FORWARD)
    assert lora.for_evaluation(model, lora_config()) is model


def with_dropout(model, key: int, rows=(0, 1)):
    model = nnx.merge(*nnx.split(model))
    lora.drop(model, jax.random.key(key), jnp.asarray(rows))
    return model


def test_dropout_is_that_of_its_key_and_absent_without_one():
    model = adapted(config=lora_config(dropout=0.5))
    plain, one, again, other = (
        logits_of(each, TOKENS_BT)
        for each in (model, with_dropout(model, 1), with_dropout(model, 1), with_dropout(model, 2))
    )
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.01
    assert np.abs(one - plain).max() > 0.01
    np.testing.assert_array_equal(plain, logits_of(adapted(), TOKENS_BT))


def test_dropout_is_the_same_for_both_layer_loops_and_a_row_s_own():
    config, values = lora_config(dropout=0.5), []
    for loop in ("unroll", "scan"):
        model = adapted(config=config, is_new=True, layer_loop=loop)
        for _, node in nnx.iter_graph(model):
            if isinstance(node, lora.LoRA):
                node.b[...] = jnp.full_like(node.b[...], 0.1)
        values.append(logits_of(with_dropout(model, 3), TOKENS_BT))
        turned = logits_of(with_dropout(model, 3, rows=(1, 0)), TOKENS_BT[::-1])
        assert_close(turned[::-1], values[-1], roundings=FORWARD)
    assert_close(*values, roundings=FORWARD)
    twice = np.asarray(logits_of(with_dropout(adapted(config=config), 3), TOKENS_BT[:1].repeat(2, axis=0)))
    assert np.abs(twice[0] - twice[1]).max() > 0.01


def test_dropout_keeps_the_expectation():
    x_BTI = jnp.ones((4, 50, 50))
    keys_BC = jax.random.key_data(jax.random.split(jax.random.key(0), 4))
    dropped = np.asarray(lora.dropped(x_BTI, keys_BC, 0.2))
    assert set(np.unique(dropped)) == {0.0, np.float32(1.25)}
    assert dropped.mean() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("path", "a", "b"),
    [
        ("blocks/attention/qkv", P(None, "fsdp", None), P(None, None, "tensor")),
        ("blocks/attention/query", P(None, "fsdp", None), P(None, None, "tensor")),
        ("blocks/mlp/gate", P(None, "fsdp", None), P(None, None, "tensor")),
        ("blocks/attention/out", P(None, "tensor", None), P(None, None, "fsdp")),
        ("blocks/mlp/down", P(None, "tensor", None), P(None, None, "fsdp")),
    ],
)
def test_an_adapter_s_long_axes_are_split_as_the_kernel_s(path, a, b):
    mesh = AbstractMesh((1, 4, 2), ("data", "fsdp", "tensor"))
    kernel = spec_of(f"{path}/kernel", (3, 64, 64), mesh)
    assert spec_of(f"{path}/lora/a", (3, 64, 5), mesh) == a == P(None, kernel[1], None)
    assert spec_of(f"{path}/lora/b", (3, 5, 64), mesh) == b == P(None, None, kernel[2])
