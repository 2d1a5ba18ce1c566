import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from tests.models.families.gemma.toys import gemma_config
from tunix_exp.errors import UserError
from tunix_exp.models import hf, hf_config
from tunix_exp.models.architecture import abstract
from tunix_exp.models.families.gemma.names import GEMMA2_NAMES, GEMMA3_NAMES, GEMMA_NAMES
from tunix_exp.models.paths import path_of
from tunix_exp.models.weight_map import each_layer, stored_name

LOCAL, GLOBAL = "sliding_attention", "full_attention"


def check(tmp_path, family, found, **changes):
    """Whether config.json fits the toy model of `family`; raises UserError where it does not."""
    (tmp_path / "config.json").write_text(json.dumps(found))
    hf_config.check_model(tmp_path, gemma_config(family, **changes))


def refusal(tmp_path, family, found, **changes):
    with pytest.raises(UserError) as caught:
        check(tmp_path, family, found, **changes)
    return str(caught.value)


SIZES = {
    "vocab_size": 31,
    "max_position_embeddings": 24,
    "hidden_size": 12,
    "intermediate_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
NEW = {
    "gemma": SIZES
    | {
        "model_type": "gemma",
        "hidden_act": "gelu_pytorch_tanh",
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "use_bidirectional_attention": None,
    },
    "gemma2": SIZES
    | {
        "model_type": "gemma2",
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "sliding_window": 3,
        "layer_types": [LOCAL, GLOBAL, LOCAL],
        "attn_logit_softcapping": 3.0,
        "final_logit_softcapping": 4.0,
    },
    "gemma3": SIZES
    | {
        "model_type": "gemma3_text",
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 5,
        "rope_parameters": {
            LOCAL: {"rope_type": "default", "rope_theta": 10000.0},
            GLOBAL: {"rope_type": "default", "rope_theta": 1000000.0},
        },
        "sliding_window": 3,
        "layer_types": [LOCAL, LOCAL, GLOBAL],
        "final_logit_softcapping": None,
        "eos_token_id": [1, 30],
    },
}
EXACT = {"gemma": {"query_pre_attn_scalar": 8.0}, "gemma2": {}, "gemma3": {}}


@pytest.mark.parametrize("family", NEW)
def test_the_new_keys_are_read(tmp_path, family):
    check(tmp_path, family, NEW[family], **EXACT[family])


@pytest.mark.parametrize(
    ("family", "without", "instead"),
    [
        ("gemma", ["rope_parameters", "hidden_act"], {"rope_theta": 10000.0, "hidden_act": "gelu"}),
        ("gemma", ["rope_parameters"], {"hidden_act": "gelu", "hidden_activation": None}),
        ("gemma", [], {"hidden_act": "gelu", "hidden_activation": "gelu_pytorch_tanh"}),
        ("gemma2", ["rope_parameters", "layer_types"], {"rope_theta": 10000.0}),
        ("gemma2", ["hidden_activation"], {"hidden_act": "gelu"}),
        (
            "gemma3",
            ["rope_parameters", "layer_types"],
            {"rope_local_base_freq": 10000, "rope_theta": 1000000, "sliding_window_pattern": 3},
        ),
        (
            "gemma3",
            ["rope_parameters", "layer_types"],
            {"rope_scaling": None, "_sliding_window_pattern": 3},
        ),
        ("gemma3", ["rope_parameters"], {"rope_parameters": {GLOBAL: {"rope_type": "default"}}}),
        ("gemma3", [], {"sliding_window_pattern": 6}),  # layer_types tells it, then
        ("gemma3", [], {"num_key_value_heads": 2, "dtype": "bfloat16", "torch_dtype": "float32"}),
    ],
)
def test_the_old_keys_and_left_out_ones_mean_the_same(tmp_path, family, without, instead):
    found = {key: value for key, value in NEW[family].items() if key not in without} | instead
    check(tmp_path, family, found, **EXACT[family])


@pytest.mark.parametrize(
    ("family", "instead", "text", "remedy"),
    [
        ("gemma", {"head_dim": 16}, "head_dim is 16, model.head_width is 8", "model.head_width=16"),
        ("gemma", {"hidden_act": "relu"}, "hidden_activation is 'relu'", "name other weights"),
        ("gemma", {"tie_word_embeddings": False}, "tie_word_embeddings is False", "name other weights"),
        ("gemma", {"attention_bias": True}, "attention_bias is True", "name other weights"),
        ("gemma", {"model_type": "gemma2"}, "model_type is 'gemma2'", "name other weights"),
        (
            "gemma",
            {"rope_parameters": {"rope_theta": 500.0}},
            "rope_theta is 500.0, model.rope_base is 10000.0",
            "model.rope_base=500.0",
        ),
        ("gemma2", {"sliding_window": 7}, "sliding_window is 7, model.window is 3", "model.window=7"),
        (
            "gemma2",
            {"attn_logit_softcapping": None},
            "attn_logit_softcapping is None, model.attention_soft_cap is 3.0",
            "model.attention_soft_cap=null",
        ),
        (
            "gemma2",
            {"layer_types": [GLOBAL, LOCAL, LOCAL]},
            "layer_types is ['full_attention', 'sliding_attention', 'sliding_attention']",
            "model.global_every=1",
        ),
        (
            "gemma3",
            {"layer_types": [LOCAL, GLOBAL, LOCAL]},
            "sliding_window_pattern is 2, model.global_every is 3",
            "model.global_every=2",
        ),
        (
            "gemma3",
            {"rope_parameters": None, "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
            "factor is 8.0, model.rope_global_factor is None",
            "model.rope_global_factor=8.0",
        ),
        (
            "gemma3",
            {"rope_parameters": None, "rope_scaling": {"rope_type": "yarn", "factor": 8.0}},
            "rope_type is 'yarn with factor'",
            "name other weights",
        ),
        (
            "gemma3",
            {"use_bidirectional_attention": True},
            "use_bidirectional_attention is True",
            "name other",
        ),
        ("gemma3", {"rope_scaling": {"factor": 8.0}}, "rope_type is 'default with factor'", "name other"),
        (
            "gemma3",
            {"rope_parameters": {GLOBAL: {"rope_type": "default", "partial_rotary_factor": 0.5}}},
            "rope_type is 'default with partial_rotary_factor'",
            "name other",
        ),
        ("gemma3", {"rope_parameters": {"rope_theta": 500.0}}, "rope_parameters is {'rope_theta'", "name"),
        ("gemma2", {"rope_scaling": {"type": "linear"}}, "rope_type is 'linear'", "name other"),
        ("gemma3", {"layer_types": [LOCAL, LOCAL]}, "layer_types is ['sliding_attention', 's", "name"),
        ("gemma3", {"layer_types": [LOCAL, "chunked_attention", GLOBAL]}, "'chunked_attention'", "name"),
        (
            "gemma",
            {"hidden_act": "relu", "hidden_activation": "gelu_pytorch_tanh"},
            "is 'relu'",
            "name other",
        ),
        (
            "gemma",
            {"final_logit_softcapping": 30.0},
            "final_logit_softcapping is 30.0, and what",
            "name other",
        ),
    ],
)
def test_what_differs_is_named_with_its_key_and_remedy(tmp_path, family, instead, text, remedy):
    message = refusal(tmp_path, family, NEW[family] | instead, **EXACT[family])
    assert text in message
    assert remedy in message


def test_a_size_that_is_left_out_is_missed(tmp_path):
    found = {key: value for key, value in NEW["gemma2"].items() if key != "hidden_size"}
    assert "hidden_size is missing, model.width is 12" in refusal(tmp_path, "gemma2", found)


@pytest.mark.parametrize("layer_loop", ["unroll", "scan"])
@pytest.mark.parametrize(
    ("family", "names"), [("gemma", GEMMA_NAMES), ("gemma2", GEMMA2_NAMES), ("gemma3", GEMMA3_NAMES)]
)
def test_every_parameter_has_one_row_and_every_tensor_lands_transposed_where_it_belongs(
    tmp_path, family, names, layer_loop
):
    # with every table: one row is of an output table of its own
    config = gemma_config(family, layer_loop=layer_loop, tied_embeddings=False, **EXACT[family])
    shapes = nnx.state(abstract(config, param_dtype=jnp.float32, compute_dtype=jnp.float32))
    unrolled = config.model_copy(update={"layer_loop": "unroll"})
    single = nnx.state(abstract(unrolled, param_dtype=jnp.float32, compute_dtype=jnp.float32))
    paths = {path: leaf.shape for path, leaf in flat(single)}
    rng, stored, by_path = np.random.default_rng(0), {}, {}
    for row in names.rows:
        for name, path in zip(each_layer(row.name, 3), each_layer(row.path, 3), strict=True):
            shape = paths.pop(path)
            kind = shape[::-1] if path.endswith("kernel") else shape
            whole = stored_name(replace(row, name=name), names)
            stored[whole] = by_path[path] = rng.standard_normal(kind).astype(np.float32)
    assert not paths
    (tmp_path / "config.json").write_text(json.dumps(NEW[family] | {"tie_word_embeddings": False}))
    save_file(stored, tmp_path / "model.safetensors")
    read = dict(flat(hf.read(tmp_path, config, shapes).params))
    down = "blocks/{}mlp/down/kernel"
    found = read[down.format("")][2] if layer_loop == "scan" else read[down.format("2/")]
    np.testing.assert_array_equal(found, by_path[down.format("2/")].T)
    norm = "blocks/{}mlp_norm/scale"
    found = read[norm.format("")][1] if layer_loop == "scan" else read[norm.format("1/")]
    np.testing.assert_array_equal(found, by_path[norm.format("1/")])


def flat(params):
    return [(path_of(keys), leaf) for keys, leaf in jax.tree_util.tree_leaves_with_path(params)]
