import json
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from tests.models.families.recurrent_gemma.toys import recurrent_config
from tests.models.families.recurrent_gemma.trees import flat
from tunix_exp.errors import UserError
from tunix_exp.models import hf, hf_config
from tunix_exp.models.architecture import abstract
from tunix_exp.models.families.recurrent_gemma.names import RECURRENT_GEMMA_NAMES as NAMES
from tunix_exp.models.weight_map import by_path, config_json, is_expressible, stored_name

ROPE = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
NEW = {
    "model_type": "recurrent_gemma",
    "vocab_size": 31,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "lru_width": 20,
    "attention_window_size": 3,
    "conv1d_width": 4,
    "logits_soft_cap": 4.0,
    "rms_norm_eps": 1e-6,
    "hidden_activation": "gelu_pytorch_tanh",
    "attention_bias": False,
    "block_types": ["recurrent", "recurrent", "attention"],
    "rope_parameters": ROPE,
    "tie_word_embeddings": True,
    "w_init_variance_scale": 0.01,
    "final_w_init_variance_scale": 0.4,
}
# As the first conversion wrote it, beside what it took from the config of the model.
PUBLISHED = {
    key: value for key, value in NEW.items() if key not in ("rope_parameters", "tie_word_embeddings")
}
PUBLISHED |= {
    "_block_types": ["recurrent", "recurrent", "attention"],
    "embeddings_scale_by_sqrt_dim": True,
    "partial_rotary_factor": 0.5,
    "rope_theta": 10000.0,
    "rotary_emb_base": 50000.0,
    "torch_dtype": "float32",
}


def check(tmp_path, found, **changes):
    """Whether config.json fits the toy model; raises UserError where it does not."""
    (tmp_path / "config.json").write_text(json.dumps(found))
    hf_config.check_model(tmp_path, recurrent_config(**changes))


@pytest.mark.parametrize("found", [NEW, PUBLISHED])
def test_the_new_keys_and_the_published_ones_are_read(tmp_path, found):
    check(tmp_path, found)


@pytest.mark.parametrize(
    ("without", "instead", "changes"),
    [
        (["lru_width"], {}, {"recurrence_width": 32}),
        ([], {"lru_width": None}, {"recurrence_width": 32}),
        (["num_key_value_heads"], {}, {"num_key_heads": 4}),
        (["block_types"], {}, {}),
        (["block_types"], {"_block_types": ["attention"]}, {"block_types": ("attention",)}),
        (["attention_window_size"], {}, {"window": 2048}),
        (["logits_soft_cap"], {}, {"logit_soft_cap": 30.0}),
        (["rope_parameters"], {}, {}),
        (
            ["rope_parameters"],
            {"partial_rotary_factor": 1.0, "rope_theta": 5},
            {"rotated_share": 1.0, "rope_base": 5.0},
        ),
        (["head_dim", "tie_word_embeddings", "hidden_activation", "attention_bias", "conv1d_width"], {}, {}),
    ],
)
def test_keys_that_are_left_out_mean_what_transformers_takes_for_them(tmp_path, without, instead, changes):
    found = {key: value for key, value in NEW.items() if key not in without} | instead
    check(tmp_path, found, **changes)


@pytest.mark.parametrize(
    ("instead", "text", "remedy"),
    [
        (
            {"intermediate_size": 80},
            "intermediate_size / 2 is 40, model.mlp_width is 20",
            "model.mlp_width=40",
        ),
        ({"lru_width": 40}, "lru_width is 40, model.recurrence_width is 20", "model.recurrence_width=40"),
        ({"conv1d_width": 3}, "conv1d_width is 3, model.convolution_taps is 4", "model.convolution_taps=3"),
        ({"logits_soft_cap": 30.0}, "logits_soft_cap is 30.0", "model.logit_soft_cap=30.0"),
        (
            {"block_types": ["recurrent", "attention"]},
            "block_types is ('recurrent', 'attention'), model.block_types is ('recurrent', 'recurrent', 'att",
            'model.block_types=["recurrent", "attention"]',
        ),
        (
            {"rope_parameters": ROPE | {"partial_rotary_factor": 1.0}},
            "partial_rotary_factor is 1.0, model.rotated_share is 0.5",
            "model.rotated_share=1.0",
        ),
        ({"num_attention_heads": 2}, "head_dim is 16, model.head_width is 8", "model.head_width=16"),
        (
            {"rope_parameters": ROPE | {"rope_type": "yarn"}},
            "rope_type is 'yarn with partial",
            "other weights",
        ),
        ({"rope_parameters": ROPE | {"factor": 2.0}}, "rope_type is 'default with factor", "other weights"),
        ({"attention_bias": True}, "attention_bias is True", "other weights"),
        ({"hidden_activation": "gelu"}, "hidden_activation is 'gelu'", "other weights"),
        ({"embeddings_scale_by_sqrt_dim": False}, "embeddings_scale_by_sqrt_dim is False", "other weights"),
        ({"sliding_window": 7}, "sliding_window is 7, and what that changes is not known", "other weights"),
    ],
)
def test_what_differs_is_named_with_its_key_and_remedy(tmp_path, instead, text, remedy):
    with pytest.raises(UserError) as caught:
        check(tmp_path, NEW | instead)
    assert text in str(caught.value)
    assert remedy in str(caught.value)


@pytest.mark.parametrize("changes", [{}, {"block_types": ("attention",)}, {"rotated_share": 1.0}])
def test_what_is_written_is_read_again(tmp_path, changes):
    config = recurrent_config(**changes)
    assert is_expressible(config, NAMES)
    check(tmp_path, config_json(config, NAMES), **changes)


def test_heads_that_do_not_share_the_width_cannot_be_written():
    assert not is_expressible(recurrent_config(width=36), NAMES)
    assert NAMES.limits == "the heads share the width"


@pytest.mark.parametrize("layer_loop", ["unroll", "scan"])
def test_every_parameter_has_one_row_and_every_tensor_lands_where_it_belongs(tmp_path, layer_loop):
    config = recurrent_config(layer_loop=layer_loop, tied_embeddings=False)
    shapes = nnx.state(abstract(config, param_dtype=jnp.float32, compute_dtype=jnp.float32))
    unrolled = config.model_copy(update={"layer_loop": "unroll"})
    single = flat(nnx.state(abstract(unrolled, param_dtype=jnp.float32, compute_dtype=jnp.float32)))
    rows, rng, stored = by_path(NAMES.rows, config.num_layers), np.random.default_rng(0), {}
    for path, leaf in single.items():
        is_reversed = path.endswith(("kernel", "taps"))
        shape = leaf.shape[::-1] if is_reversed else leaf.shape
        stored[stored_name(replace(rows[path]), NAMES)] = rng.standard_normal(shape).astype(np.float32)
    assert len(stored) == len(single)
    unused = {row.path.partition("{layer}/")[2] or row.path for row in NAMES.rows}
    assert unused == {path.split("/", 2)[2] if path.startswith("blocks/") else path for path in single}
    (tmp_path / "config.json").write_text(json.dumps(NEW | {"tie_word_embeddings": False}))
    save_file(stored, tmp_path / "model.safetensors")
    read = flat(hf.read(tmp_path, config, shapes).params)
    assert read.keys() == single.keys()
    for path, value in read.items():
        name = stored_name(rows[path], NAMES)
        np.testing.assert_array_equal(value, rows[path].transform(stored[name]))
