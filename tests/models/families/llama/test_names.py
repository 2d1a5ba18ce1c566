import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from tests.models.families.llama.toys import SCALED, UNSCALED, llama_config
from tunix_exp.errors import UserError
from tunix_exp.models import hf, hf_config
from tunix_exp.models.architecture import abstract
from tunix_exp.models.families.registry import weight_maps
from tunix_exp.models.paths import path_of
from tunix_exp.models.weight_map import config_json, each_layer, is_expressible, stored_name

FAMILIES = ("llama", "qwen2", "qwen3", "smollm3")
FULL = "full_attention"
SIZES = {
    "vocab_size": 31,
    "max_position_embeddings": 24,
    "hidden_size": 12,
    "intermediate_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "hidden_act": "silu",
}
SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
NEW = {
    "llama": SIZES
    | {
        "model_type": "llama",
        "rope_parameters": SCALING | {"rope_theta": 500.0},
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "pretraining_tp": 1,
    },
    "qwen2": SIZES
    | {
        "model_type": "qwen2",
        "rope_parameters": PLAIN,
        "use_sliding_window": False,
        "sliding_window": 32768,
        "max_window_layers": 24,
        "use_mrope": False,
    },
    "qwen3": SIZES
    | {
        "model_type": "qwen3",
        "rope_parameters": PLAIN,
        "tie_word_embeddings": True,
        "layer_types": [FULL] * 3,
        "use_sliding_window": False,
        "sliding_window": None,
        "attention_bias": False,
    },
    "smollm3": SIZES
    | {
        "model_type": "smollm3",
        "rope_parameters": PLAIN,
        "no_rope_layers": [1, 1, 0],
        "no_rope_layer_interval": 3,
        "layer_types": [FULL] * 3,
    },
}


def check(tmp_path, family, found, **changes):
    """Whether config.json fits the toy model of `family`; raises UserError where it does not."""
    (tmp_path / "config.json").write_text(json.dumps(found))
    hf_config.check_model(tmp_path, llama_config(family, **changes))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_new_keys_are_read(tmp_path, family):
    check(tmp_path, family, NEW[family])


@pytest.mark.parametrize(
    ("family", "without", "instead", "changes"),
    [
        ("llama", ["rope_parameters"], {"rope_theta": 500.0, "rope_scaling": SCALING}, {}),
        (
            "llama",
            ["rope_parameters"],
            {"rope_theta": 500.0, "rope_scaling": {"type": "llama3"} | SCALING},
            {},
        ),
        ("llama", ["rope_parameters"], {"rope_scaling": None}, UNSCALED | {"rope_base": 10_000.0}),
        ("llama", ["tie_word_embeddings"], {}, {"tied_embeddings": False}),
        ("llama", ["head_dim"], {}, {"head_width": 3 * 2, "width": 24, "hidden": None}),
        ("llama", ["num_key_value_heads"], {}, {"num_key_heads": 4}),
        (
            "llama",
            [],
            {"is_llama_config": True, "rope_interleaved": False, "transformers.js_config": {"dtype": "q4"}},
            {},
        ),
        ("qwen2", ["rope_parameters"], {"rope_theta": 10000}, {}),
        ("qwen2", ["rope_parameters"], {}, {}),
        (
            "qwen2",
            ["use_sliding_window", "max_window_layers"],
            {"tie_word_embeddings": True},
            {"tied_embeddings": True},
        ),
        ("qwen3", ["rope_parameters", "layer_types"], {"rope_theta": 10000.0, "rope_scaling": None}, {}),
        ("qwen3", ["head_dim"], {}, {"head_width": 128}),
        ("smollm3", ["no_rope_layers"], {}, {}),
        ("smollm3", ["no_rope_layer_interval"], {}, {}),
        ("smollm3", [], {"no_rope_layers": [1, 1, 0, 1, 1, 0]}, {}),
        ("smollm3", [], {"no_rope_layers": [1, 1, 1]}, {"unrotated_every": None}),
        ("smollm3", [], {"no_rope_layers": [0, 0, 0], "pretraining_tp": 2}, {"unrotated_every": 1}),
        ("smollm3", ["no_rope_layers"], {"no_rope_layer_interval": 4}, {"unrotated_every": None}),
        ("smollm3", ["rope_parameters"], {}, {"rope_base": 2_000_000.0}),
    ],
)
def test_the_old_keys_and_left_out_ones_mean_the_same(tmp_path, family, without, instead, changes):
    found = {key: value for key, value in NEW[family].items() if key not in without} | instead
    if changes.pop("hidden", 0) is None:
        found["hidden_size"] = changes["width"]
    check(tmp_path, family, found, **changes)


@pytest.mark.parametrize(
    ("family", "instead", "text", "remedy"),
    [
        ("llama", {"head_dim": 16}, "head_dim is 16, model.head_width is 8", "model.head_width=16"),
        (
            "llama",
            {"hidden_act": "gelu"},
            "hidden_act is 'gelu', model.family=llama computes 'silu'",
            "other",
        ),
        ("llama", {"attention_bias": True}, "attention_bias is True", "name other weights"),
        ("llama", {"mlp_bias": True}, "mlp_bias is True", "name other weights"),
        ("llama", {"rope_interleaved": True}, "rope_interleaved is True", "name other weights"),
        (
            "llama",
            {"tie_word_embeddings": False},
            "tie_word_embeddings is False, model.tied_embeddings is True",
            "model.tied_embeddings=false",
        ),
        (
            "llama",
            {"rope_parameters": SCALING | {"rope_theta": 500.0, "factor": 32.0}},
            "factor is 32.0, model.rope_factor is 8.0",
            "model.rope_factor=32.0",
        ),
        (
            "llama",
            {"rope_parameters": PLAIN | {"rope_theta": 500.0}},
            "factor is None, model.rope_factor is 8.0",
            "model.rope_factor=null",
        ),
        (
            "llama",
            {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
            "rope_type is 'yarn with factor', model.family=llama computes 'default or llama3' alone",
            "name other weights",
        ),
        (
            "llama",
            {"rope_scaling": {"rope_type": "llama3", "factor": 4.0}},
            "rope_type is 'llama3 with factor'",
            "name other weights",
        ),
        (
            "llama",
            {"rope_scaling": SCALING | {"factor": "8"}},
            "rope_type is 'llama3 with factor, high_freq_factor",
            "name other weights",
        ),
        (
            "llama",
            {"sliding_window": 4096},
            "sliding_window is 4096, and what that changes is not",
            "name other",
        ),
        ("qwen2", {"use_sliding_window": True}, "use_sliding_window is True", "name other weights"),
        ("qwen2", {"use_mrope": True}, "use_mrope is True", "name other weights"),
        ("qwen2", {"attention_bias": False}, "attention_bias is False, and what that changes", "name other"),
        (
            "qwen3",
            {"layer_types": [FULL, "sliding_attention", FULL]},
            "layer_types is ['full_attention', 'sliding_attention', 'full_attention']",
            "name other weights",
        ),
        ("qwen3", {"layer_types": [FULL]}, "layer_types is ['full_attention']", "name other weights"),
        (
            "qwen3",
            {"num_key_value_heads": None},
            "num_key_value_heads is 4, model.num_key_heads is 2",
            "heads=4",
        ),
        (
            "smollm3",
            {"no_rope_layers": [0, 1, 1]},
            "no_rope_layers is [0, 1, 1], model.family=smollm3 computes 'every n-th layer 0, all others 1'",
            "model.unrotated_every=1",
        ),
        (
            "smollm3",
            {"no_rope_layers": [1, 0, 1]},
            "no_rope_layer_interval is 2, model.unrotated_every is 3",
            "model.unrotated_every=2",
        ),
        (
            "smollm3",
            {"no_rope_layers": [1, 2]},
            "no_rope_layers is [1, 2], not a list of 0 and 1",
            "name other",
        ),
    ],
)
def test_what_differs_is_named_with_its_key_and_remedy(tmp_path, family, instead, text, remedy):
    with pytest.raises(UserError) as caught:
        check(tmp_path, family, NEW[family] | instead)
    assert text in str(caught.value)
    assert remedy in str(caught.value)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {}),
        ("llama", UNSCALED),
        ("llama", {"tied_embeddings": False}),
        ("qwen2", SCALED),
        ("qwen3", {}),
        ("smollm3", {}),
        ("smollm3", {"unrotated_every": None}),
        ("smollm3", {"unrotated_every": 1}),
    ],
)
def test_what_is_written_is_read_again(tmp_path, family, changes):
    config = llama_config(family, **changes)
    assert is_expressible(config, weight_maps()[family])
    check(tmp_path, family, config_json(config, weight_maps()[family]), **changes)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_an_unrotated_layer_is_what_only_smollm3_can_write(family):
    config = llama_config(family, unrotated_every=2)
    assert not is_expressible(config, weight_maps()[family])
    assert weight_maps()[family].limits == "all layers are rotated"


@pytest.mark.parametrize("layer_loop", ["unroll", "scan"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_has_one_row_and_every_tensor_lands_transposed_where_it_belongs(
    tmp_path, family, layer_loop
):
    # with every table: one row is of an output table of its own
    names = weight_maps()[family]
    config = llama_config(family, layer_loop=layer_loop, tied_embeddings=False)
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


def flat(params):
    return [(path_of(keys), leaf) for keys, leaf in jax.tree_util.tree_leaves_with_path(params)]
