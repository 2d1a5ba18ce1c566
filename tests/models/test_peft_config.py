"""Every key of PEFT's config: what is taken computes what PEFT defines, by numpy; all else is refused.

The rows of docs/adapters.md are those of these tests.
"""

import json
import math
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from tests.closeness import assert_close, model_roundings
from tests.models.families.gpt2.test_goldens import SIZES
from tests.models.lora_toys import logits_of, lora_config
from tests.models.toys import toy_config, toy_model
from tunix_exp.errors import UserError
from tunix_exp.models import lora, peft, peft_config
from tunix_exp.models.export import write_adapter

STORED = Path(__file__).parents[1] / "goldens" / "gpt2" / "lora"
PAGE = Path(__file__).parents[2] / "docs" / "adapters.md"
SAID = json.loads((STORED / peft.CONFIG).read_text())
PREFIX = "base_model.model.transformer."
INPUTS_OUTPUTS = {
    "attn.c_attn": (32, 96),
    "attn.c_proj": (32, 32),
    "mlp.c_fc": (32, 128),
    "mlp.c_proj": (128, 32),
}
PATHS = {"attn.c_attn": "qkv", "attn.c_proj": "out", "mlp.c_fc": "up", "mlp.c_proj": "down"}
TOKENS_BT = jnp.asarray(np.random.default_rng(0).integers(1, 30, (2, 9)), jnp.int32)
ALL = [(layer, name) for layer in (0, 1) for name in INPUTS_OUTPUTS]
ATTENTION = [(layer, name) for layer, name in ALL if name.startswith("attn")]


def write(folder, ranks, **said):
    """A folder with A and B of these ranks, by layer and name; returns them as PEFT holds them."""
    random, tensors = np.random.default_rng(7), {}
    for (layer, name), rank in ranks.items():
        inputs, outputs = INPUTS_OUTPUTS[name]
        module = f"{PREFIX}h.{layer}.{name}"
        tensors[f"{module}.lora_A.weight"] = random.normal(size=(rank, inputs)).astype(np.float32)
        tensors[f"{module}.lora_B.weight"] = random.normal(size=(outputs, rank)).astype(np.float32)
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / peft.TENSORS)
    (folder / peft.CONFIG).write_text(json.dumps(SAID | {"lora_alpha": 8} | said))
    return tensors


def adapted(folder, **config):
    model = nnx.clone(toy_model(**SIZES))
    config = lora_config(**({"rank": 4, "alpha": 8.0} | config))
    lora.attach(model, config, family="gpt2", seed=0)
    peft.read(model, folder, config, family="gpt2", num_layers=2)
    return model, config


def by_peft(tensors, scales):
    """The logits of a model whose kernels are W + scale·(B·A)ᵀ, computed by numpy."""
    model = nnx.clone(toy_model(**SIZES))
    for (layer, name), scale in scales.items():
        block, module = model.blocks[layer], f"{PREFIX}h.{layer}.{name}"
        dense = getattr(block.attention if name.startswith("attn") else block.mlp, PATHS[name])
        delta = tensors[f"{module}.lora_B.weight"] @ tensors[f"{module}.lora_A.weight"]
        dense.kernel[...] = dense.kernel[...] + scale * delta.T
    return logits_of(model, TOKENS_BT)


def assert_computes(folder, tensors, scales, **config):
    model, config = adapted(folder, **config)
    expected = by_peft(tensors, scales)
    # A product in one sum or in two: a few roundings more in each layer.
    bound = 4 * model_roundings(toy_config(**SIZES), 9)
    assert_close(logits_of(model, TOKENS_BT), expected, roundings=bound)
    assert np.abs(expected - logits_of(toy_model(**SIZES), TOKENS_BT)).max() > 0.1
    return model, config


RANKS = {place: 2 if "c_attn" in place[1] else 4 for place in ATTENTION}
HALVES = {(0, "attn.c_attn"), (0, "attn.c_proj")}


@pytest.mark.parametrize(
    ("ranks", "said", "config", "scales"),
    [
        pytest.param(
            RANKS, {"rank_pattern": {"c_attn": 2}}, {}, {p: 8 / r for p, r in RANKS.items()},
            id="rank_pattern",
        ),
        pytest.param(
            RANKS,
            {"rank_pattern": {r"h\.\d\.attn\.c_proj": 4}, "r": 2, "use_rslora": True},
            {"scaling": "rslora"},
            {p: 8 / math.sqrt(r) for p, r in RANKS.items()},
            id="rank_pattern with use_rslora",
        ),
        pytest.param(
            dict.fromkeys(ATTENTION, 4),
            {"alpha_pattern": {r"h\.1\.attn\.c_attn": 3.0, "c_attn": 5}},
            {},
            {p: {(1, "attn.c_attn"): 3.0, (0, "attn.c_attn"): 5.0}.get(p, 8.0) / 4 for p in ATTENTION},
            id="alpha_pattern",
        ),
        pytest.param(
            dict.fromkeys(ATTENTION, 4),
            {"use_rslora": True},
            {"scaling": "rslora"},
            dict.fromkeys(ATTENTION, 4.0),
            id="use_rslora",
        ),
        pytest.param(
            dict.fromkeys(HALVES, 4), {"layers_to_transform": 0}, {}, dict.fromkeys(HALVES, 2.0),
            id="layers_to_transform",
        ),
        pytest.param(
            dict.fromkeys(HALVES, 4),
            {"layers_to_transform": [0], "layers_pattern": ["layers", "h"]},
            {},
            dict.fromkeys(HALVES, 2.0),
            id="layers_pattern",
        ),
        pytest.param(
            dict.fromkeys(HALVES, 4),
            {"target_modules": r"transformer\.h\.0\.attn\.c_.*"},
            {},
            dict.fromkeys(HALVES, 2.0),
            id="target_modules",
        ),
        pytest.param(
            dict.fromkeys(ALL, 4),
            {"target_modules": "all-linear"},
            {"targets": ("all",)},
            dict.fromkeys(ALL, 2.0),
            id="target_modules all-linear",
        ),
        pytest.param(
            dict.fromkeys(ATTENTION, 4),
            {"target_modules": ["c_attn", "c_proj"], "exclude_modules": ["mlp.c_proj"]},
            {},
            dict.fromkeys(ATTENTION, 2.0),
            id="exclude_modules",
        ),
        pytest.param(
            dict.fromkeys(ATTENTION, 4), {"fan_in_fan_out": False}, {}, dict.fromkeys(ATTENTION, 2.0),
            id="fan_in_fan_out",
        ),
    ],
)  # fmt: skip
def test_what_is_taken_computes_what_peft_defines(tmp_path, ranks, said, config, scales):
    tensors = write(tmp_path / "adapter", ranks, **said)
    model, config = assert_computes(tmp_path / "adapter", tensors, scales, **config)
    # It leaves as a plain adapter of the same function.
    write_adapter(tmp_path, model, toy_config(**SIZES), config, base=None, revision=None)
    again = lora.attach(nnx.clone(toy_model(**SIZES)), config, family="gpt2", seed=1)
    peft.read(again, tmp_path, config, family="gpt2", num_layers=2)
    np.testing.assert_array_equal(logits_of(again, TOKENS_BT), logits_of(model, TOKENS_BT))


WITHOUT_EFFECT = {
    "lora_dropout": 0.5,
    "inference_mode": False,
    "merge_weights": True,
    "base_model_name_or_path": "another",
    "revision": "main",
    "peft_version": "0.3.0",
    "megatron_core": "another.core",
    "auto_mapping": {"base_model_class": "GPT2LMHeadModel"},
    "qalora_group_size": 32,
}


@pytest.mark.parametrize("key", WITHOUT_EFFECT)
def test_what_has_no_effect_changes_no_bit(tmp_path, key):
    write(tmp_path, dict.fromkeys(ATTENTION, 4))
    before = logits_of(adapted(tmp_path)[0], TOKENS_BT)
    write(tmp_path, dict.fromkeys(ATTENTION, 4), **{key: WITHOUT_EFFECT[key]})
    np.testing.assert_array_equal(logits_of(adapted(tmp_path)[0], TOKENS_BT), before)


def test_both_layer_loops_fill_the_same_zeros(tmp_path):
    write(tmp_path, dict.fromkeys(HALVES, 4), layers_to_transform=[0])
    config, halves = lora_config(rank=4, alpha=8.0), []
    for loop in ("unroll", "scan"):
        model = lora.attach(nnx.clone(toy_model(**SIZES, layer_loop=loop)), config, family="gpt2", seed=0)
        peft.read(model, tmp_path, config, family="gpt2", num_layers=2)
        qkv = model.blocks[1].attention.qkv if loop == "unroll" else model.blocks.attention.qkv
        halves.append(
            [qkv.lora.a[...], qkv.lora.b[...]] if loop == "unroll" else [qkv.lora.a[1], qkv.lora.b[1]]
        )
    assert not any(np.any(half) for both in halves for half in both)
    assert [half.shape for half in halves[0]] == [half.shape for half in halves[1]]


def test_what_was_filled_with_zeros_has_no_gradient(tmp_path):
    write(tmp_path, dict.fromkeys(HALVES, 2) | {(0, "attn.c_attn"): 4}, r=2,
          rank_pattern={"c_attn": 4}, layers_to_transform=[0])  # fmt: skip
    graphdef, trained, frozen = lora.split(adapted(tmp_path)[0])

    def loss(trained):
        return jnp.sum(jnp.square(logits_of(nnx.merge(graphdef, trained, *frozen), TOKENS_BT)))

    grads = nnx.merge(graphdef, jax.grad(loss)(trained), *frozen)
    for name in ("qkv", "out"):
        first, second = (getattr(block.attention, name).lora for block in grads.blocks)
        assert not np.any(second.a[...])
        assert not np.any(second.b[...])
        assert np.any(first.a[...])
        assert np.any(first.b[...])
    out = grads.blocks[0].attention.out.lora
    assert not np.any(out.a[:, 2:])
    assert not np.any(out.b[2:])
    assert np.all(np.any(out.a[:, :2], axis=0))


def test_a_truncated_adapter_is_refused_and_not_filled_with_zeros(tmp_path):
    tensors = write(tmp_path, dict.fromkeys(ATTENTION, 4))
    kept = {name: values for name, values in tensors.items() if "h.1.attn.c_attn" not in name}
    save_file(kept, tmp_path / peft.TENSORS)
    with pytest.raises(UserError, match=r"h\.1\.attn\.c_attn' is named and has no tensors"):
        adapted(tmp_path)


# Each refused key, a value other than the plain one, and what else a folder then holds.
EMBEDDING = "base_model.model.transformer.wte"
REFUSED = {
    "peft_type": ("IA3", {}),
    "bias": ("lora_only", {f"{PREFIX}h.0.attn.c_attn.base_layer.bias": (48,)}),
    "lora_bias": (True, {f"{PREFIX}h.0.attn.c_attn.lora_B.bias": (48,)}),
    "use_dora": (True, {f"{PREFIX}h.0.attn.c_attn.lora_magnitude_vector": (48,)}),
    "use_qalora": (True, {}),
    "ensure_weight_tying": (True, {}),
    "alora_invocation_tokens": ([5, 6], {}),
    "enable_lora": ([True, False, True], {}),
    "layer_replication": ([[0, 2], [1, 2]], {}),
    "loftq_config": ({"loftq_bits": 4}, {}),
    "modules_to_save": (["lm_head"], {"base_model.model.lm_head.weight": (32, 16)}),
    "target_parameters": (["mlp.experts.gate_up_proj"], {}),
    "trainable_token_indices": ([3], {f"{EMBEDDING}.token_adapter.trainable_tokens_delta": (1, 16)}),
    **{key: ({}, {}) for key in peft_config.NULL},
    "init_lora_weights": ("pissa", {}),
    "task_type": ("SEQ_CLS", {}),
}
PARTS = {
    "bias": "is a bias of the model",
    "lora_bias": "is a bias of the adapter",
    "use_dora": "is magnitudes of DoRA",
    "modules_to_save": "is a module saved whole",
    "trainable_token_indices": "is single tokens",
}


@pytest.mark.parametrize("key", REFUSED)
def test_what_is_not_taken_is_refused_by_its_name_with_the_way_out(tmp_path, key):
    value, _ = REFUSED[key]
    write(tmp_path, dict.fromkeys(ATTENTION, 4), **{key: value})
    with pytest.raises(UserError, match=rf"(?s)\b{key} is .*\bmerge_and_unload\b"):
        adapted(tmp_path)


@pytest.mark.parametrize("key", PARTS)
def test_tensors_that_are_no_a_or_b_are_refused_by_what_they_are_whatever_the_config_says(tmp_path, key):
    tensors = write(tmp_path, dict.fromkeys(ATTENTION, 4))
    more = {name: np.zeros(shape, np.float32) for name, shape in REFUSED[key][1].items()}
    save_file(tensors | more, tmp_path / peft.TENSORS)
    with pytest.raises(UserError, match=rf"(?s){PARTS[key]} \(.*{key}.*merge_and_unload"):
        adapted(tmp_path)


def test_an_adapted_embedding_is_refused_as_one(tmp_path):
    tensors = write(
        tmp_path, dict.fromkeys(ATTENTION, 4), target_modules=["attn.c_attn", "attn.c_proj", "wte"]
    )
    more = {f"{EMBEDDING}.lora_embedding_A": (4, 32), f"{EMBEDDING}.lora_embedding_B": (16, 4)}
    save_file(tensors | {n: np.zeros(s, np.float32) for n, s in more.items()}, tmp_path / peft.TENSORS)
    with pytest.raises(
        UserError, match=r"(?s)wte.lora_embedding_A' is an adapter of an embedding.*merge_and_"
    ):
        adapted(tmp_path)


def test_a_pattern_that_names_no_product_is_refused(tmp_path):
    write(tmp_path, dict.fromkeys(ATTENTION, 4), alpha_pattern={"q_proj": 3})
    with pytest.raises(UserError, match="alpha_pattern names 'q_proj', which is no product"):
        adapted(tmp_path)


def test_the_page_has_every_key_and_every_refused_one_is_tested():
    rows = dict(re.findall(r"^\| `(\w+)` .*\| (taken|refused|no effect|compared)", PAGE.read_text(), re.M))
    assert rows.keys() == peft_config.KINDS.keys() >= SAID.keys()
    assert {key for key, said in rows.items() if said == "refused"} == REFUSED.keys()
    ignored = {key for key, said in rows.items() if said == "no effect"}
    assert ignored == WITHOUT_EFFECT.keys() | {"fan_in_fan_out"}
