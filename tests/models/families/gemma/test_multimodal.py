"""The text part of checkpoints that take pictures too, beside what transformers computes of it."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from tests.closeness import assert_close, model_roundings
from tests.models.families.goldens import GOLDENS
from tunix_exp.errors import UserError
from tunix_exp.models import hf
from tunix_exp.models.architecture import abstract
from tunix_exp.models.digest import weight_hash
from tunix_exp.models.export import write_model
from tunix_exp.models.families.gemma.config import GemmaConfig
from tunix_exp.models.from_folder import from_folder
from tunix_exp.models.hf_config import check_model, told_model
from tunix_exp.models.loss import positions_of

GOLDEN = GOLDENS / "gemma3_multimodal"
OWN = {"name": "a", "init_std": 0.02, "layer_loop": "scan", "remat": "none", "quantize": None}
PARTS = {"vision_tower": 32, "multi_modal_projector": 2}


def config_of(folder):
    found = from_folder(OWN | {"weights": str(folder), "tokenizer": "bundled:bytes"})
    assert found is not None
    return GemmaConfig.model_validate(found.model)


def read(folder):
    """The model and what was read."""
    config = config_of(folder)
    graphdef, shapes = nnx.split(abstract(config, param_dtype=jnp.float32, compute_dtype=jnp.float32))
    contents = hf.read(folder, config, shapes)
    return nnx.merge(graphdef, contents.params), contents


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(GOLDEN, tmp_path / "copy", ignore=shutil.ignore_patterns("expected.*"))


def renamed(folder, **begins):
    """The same tensors, with names that begin otherwise."""
    stored = load_file(folder / "model.safetensors")
    names = {name: name for name in stored}
    for old, new in begins.items():
        names = {
            name: new + now.removeprefix(f"{old}.") if now.startswith(f"{old}.") else now
            for name, now in names.items()
        }
    save_file({names[name]: value for name, value in stored.items()}, folder / "model.safetensors")


def changed(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_its_logits_are_those_of_transformers():
    model, contents = read(GOLDEN)
    expected = np.load(GOLDEN / "expected.npz")
    tokens_BT = jnp.asarray(expected["tokens"])
    ids_BT = jnp.ones_like(tokens_BT)

    @nnx.jit
    def logits(model):
        x_BTD, _ = model.hidden(tokens_BT, positions_of(ids_BT), ids_BT)
        return model.logits(x_BTD)

    config = config_of(GOLDEN)
    assert (config.rope_global_factor, config.vocab_size) == (8.0, 136)
    assert_close(np.asarray(logits(model)), expected["logits"], roundings=model_roundings(config, 24))
    assert contents.left_out == PARTS
    stored = load_file(GOLDEN / "model.safetensors")
    table_VD = stored["language_model.model.embed_tokens.weight"]
    np.testing.assert_array_equal(model.token_embedding.embedding[...], table_VD)


@pytest.mark.parametrize(
    "begins",
    [
        {"language_model.model": "model.language_model.", "vision_tower": "model.vision_tower."},
        {"language_model.model": "model."},
    ],
)
def test_other_versions_of_transformers_begin_its_names_otherwise(copy, begins):
    renamed(copy, **begins)
    model, contents = read(copy)
    assert weight_hash(nnx.state(model)) == weight_hash(nnx.state(read(GOLDEN)[0]))
    assert sum(contents.left_out.values()) == sum(PARTS.values())


def test_a_text_tensor_that_is_missing_or_unknown_is_named(copy):
    renamed(copy, **{"language_model.model.norm": "language_model.model.last_norm.", "vision_tower": "eyes."})
    with pytest.raises(UserError) as caught:
        read(copy)
    assert "norm.weight is missing, so final_norm/scale stays unfilled" in caught.value.what
    assert "language_model.model.last_norm.weight is not used by the model" in caught.value.what
    assert "eyes.post_layernorm.bias is not used by the model" in caught.value.what


def test_an_output_table_that_is_not_the_tied_one_is_refused(copy):
    stored = load_file(copy / "model.safetensors")
    table_VD = stored["language_model.model.embed_tokens.weight"]
    for name in ("lm_head.weight", "language_model.lm_head.weight"):
        save_file(stored | {name: table_VD.copy()}, copy / "model.safetensors")
        read(copy)
        save_file(stored | {name: table_VD + 1}, copy / "model.safetensors")
        with pytest.raises(UserError, match=r"lm_head\.weight differs from embed_tokens\.weight"):
            read(copy)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"audio_config": {"a": 1}}, "audio_config is {'a': 1}, and what that changes is not known here"),
        ({"text_config": None}, "text_config is None, not an object"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings is False, and in text_config True"),
        ({"text_config": {"alibi": True}}, "alibi is True, and what that changes is not known here"),
        ({"quantization_config": {"quant_method": "gptq"}}, "the weights are quantized"),
        ({"text_config": {"quantization_config": {"quant_method": "awq"}}}, "the weights are quantized"),
    ],
)
def test_what_is_not_understood_of_it_is_refused(copy, changes, says):
    changed(copy, **changes)
    with pytest.raises(UserError) as caught:
        config_of(copy)
    assert says in caught.value.what
    assert caught.value.where == str(copy / "config.json")


def test_the_published_one_of_4b_says_little_of_itself(tmp_path):
    # As it is at google/gemma-3-4b-pt: all else is what transformers takes.
    text = {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
    }
    text |= {"rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024}
    said = {"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"], "text_config": text}
    said |= {
        "eos_token_id": [1, 106],
        "boi_token_index": 255999,
        "torch_dtype": "bfloat16",
        "vision_config": {},
    }
    (tmp_path / "config.json").write_text(json.dumps(said))
    family, told = told_model(tmp_path, None)
    sizes = {
        "vocab_size": 262208,
        "num_positions": 131072,
        "num_heads": 8,
        "num_key_heads": 4,
        "head_width": 256,
    }
    sizes |= {"window": 1024, "global_every": 6, "rope_base": 1e6, "rope_global_factor": 8.0, "width": 2560}
    assert family == "gemma3"
    assert {key: told[key] for key in sizes} == sizes
    model = OWN | told | {"family": family, "weights": "a", "tokenizer": "a", "stored_dtype": "bfloat16"}
    check_model(tmp_path, GemmaConfig.model_validate(model))


def test_it_leaves_as_a_text_model(tmp_path):
    model, _ = read(GOLDEN)
    config, folder = config_of(GOLDEN), tmp_path / "out"
    folder.mkdir()
    write_model(folder, model, config, dtype=None, source=GOLDEN, special_ids={"eos_token_id": 1})
    said = json.loads((folder / "config.json").read_text())
    assert (said["model_type"], said["architectures"]) == ("gemma3_text", ["Gemma3ForCausalLM"])
    assert not {"text_config", "vision_config", "boi_token_index"} & said.keys()
    again, contents = read(folder)
    assert contents.left_out == {}
    assert jax.tree.map(np.array_equal, nnx.state(again), nnx.state(model))
    assert weight_hash(nnx.state(again)) == weight_hash(nnx.state(model))
    write_model(tmp_path, model, config, dtype=None, source=None, special_ids={"eos_token_id": 1})
    assert config_of(tmp_path).rope_global_factor == 8.0
