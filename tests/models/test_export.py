"""Folders out of models; tests/goldens/check_export.py asks transformers and PEFT what they make of them."""

import json
import shutil
from functools import cache

import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from tests.closeness import assert_close
from tests.models.families.goldens import ADAPTERS, CONFIGS, GOLDENS, golden_config
from tests.models.lora_toys import lora_config
from tunix_exp.models import hf, lora, peft, weights
from tunix_exp.models.adapter import NoAdapterConfig
from tunix_exp.models.digest import weight_hash
from tunix_exp.models.export import write_adapter, write_model
from tunix_exp.models.stored import INDEX, SINGLE

FAMILIES = tuple(CONFIGS)
NONE = NoAdapterConfig(name="none")
IDS = {"bos_token_id": 2, "eos_token_id": [1, 106], "pad_token_id": 0}


@cache
def loaded(family, adapter=NONE, folder=None, param_dtype="float32", **changes):
    config = golden_config(family, weights=str(folder or GOLDENS / family), **changes)
    dtypes = {"param_dtype": param_dtype, "compute_dtype": "float32"}
    return weights.load(config, adapter, **dtypes, seed=0).model


def export(target, family, model, *, dtype=None, source="golden", special_ids=IDS, **more):
    source = GOLDENS / family if source == "golden" else source
    config = golden_config(family)
    write_model(target, model, config, dtype=dtype, source=source, special_ids=special_ids, **more)
    return load_file(target / SINGLE) if (target / SINGLE).exists() else None


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert (found[name].dtype, found[name].shape) == (values.dtype, values.shape), name
        assert found[name].tobytes() == values.tobytes(), name


@pytest.mark.parametrize("family", FAMILIES)
def test_in_and_out_again_is_the_same_file(family, tmp_path):
    export(tmp_path, family, loaded(family))
    assert (tmp_path / SINGLE).read_bytes() == (GOLDENS / family / SINGLE).read_bytes()
    assert json.loads((tmp_path / hf.CONFIG).read_text()) == json.loads(
        (GOLDENS / family / hf.CONFIG).read_text()
    )


@pytest.mark.parametrize(
    ("family", "table"), [("gpt2", "transformer.wte.weight"), ("gemma3", "model.embed_tokens.weight")]
)
def test_an_output_table_of_its_own_leaves_under_the_name_that_transformers_gives_it(family, table, tmp_path):
    shutil.copytree(GOLDENS / family, source := tmp_path / "in")
    stored = load_file(source / SINGLE)
    stored["lm_head.weight"] = stored[table] + 1
    save_file(stored, source / SINGLE)
    said = json.loads((source / hf.CONFIG).read_text()) | {"tie_word_embeddings": False}
    (source / hf.CONFIG).write_text(json.dumps(said))
    model = loaded(family, folder=source, tied_embeddings=False)
    (tmp_path / "out").mkdir()
    config = golden_config(family, tied_embeddings=False)
    write_model(tmp_path / "out", model, config, dtype=None, source=None, special_ids=IDS)
    assert_equal(load_file(tmp_path / "out" / SINGLE), stored)
    assert json.loads((tmp_path / "out" / hf.CONFIG).read_text())["tie_word_embeddings"] is False
    again = loaded(family, folder=tmp_path / "out", tied_embeddings=False)
    assert weight_hash(nnx.state(again)) == weight_hash(nnx.state(model))


def test_the_layer_loop_does_not_matter(tmp_path):
    model = loaded("gemma", layer_loop="unroll")
    assert_equal(export(tmp_path, "gemma", model), load_file(GOLDENS / "gemma" / SINGLE))


def test_generation_config_says_what_ends_an_answer_and_else_what_it_said(tmp_path):
    export(tmp_path, "gemma3", loaded("gemma3"))
    said = json.loads((GOLDENS / "gemma3" / hf.GENERATION).read_text())
    assert json.loads((tmp_path / hf.GENERATION).read_text()) == said | IDS


def test_a_tokenizer_that_begins_no_text_leaves_what_the_source_said_and_else_no_id_of_transformers(tmp_path):
    ends = {"eos_token_id": 106, "pad_token_id": 0}
    (with_source := tmp_path / "a").mkdir()
    export(with_source, "gemma3", loaded("gemma3"), special_ids=ends)
    said = json.loads((GOLDENS / "gemma3" / hf.GENERATION).read_text())
    assert said["bos_token_id"] == 2
    assert json.loads((with_source / hf.GENERATION).read_text()) == said | ends
    (without := tmp_path / "b").mkdir()
    export(without, "gemma3", loaded("gemma3"), source=None, special_ids=ends)
    config = json.loads((without / hf.CONFIG).read_text())
    assert {key: config[key] for key in IDS} == ends | {"bos_token_id": None}
    assert json.loads((without / hf.GENERATION).read_text()) == ends


@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_source_config_json_is_spelled_as_transformers_spells_it(family, tmp_path):
    export(tmp_path, family, loaded(family), source=None)
    found, golden = (json.loads((f / hf.CONFIG).read_text()) for f in (tmp_path, GOLDENS / family))
    golden |= IDS | {
        "n_inner": 128,
        "initializer_range": 0.3,
        "use_bidirectional_attention": False,
        "hidden_activation": "gelu_pytorch_tanh",
    }
    shared = found.keys() & golden.keys()
    assert {key: found[key] for key in shared} == {key: golden[key] for key in shared}
    computed = {"architectures", "model_type", "dtype", "vocab_size", "tie_word_embeddings"}
    computed |= {"initializer_range"}
    sizes = {"n_embd", "n_head", "resid_pdrop"} if family == "gpt2" else {"rope_parameters", "hidden_size"}
    assert shared >= computed | sizes
    assert json.loads((tmp_path / hf.GENERATION).read_text()) == IDS


def test_shards_hold_the_same_and_are_read_again(tmp_path):
    export(tmp_path, "gemma2", loaded("gemma2"), shard_bytes=10_000)
    index = json.loads((tmp_path / INDEX).read_text())
    files = sorted(set(index["weight_map"].values()))
    assert len(files) > 2
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    together = {}
    for file in files:
        held = load_file(tmp_path / file)
        assert sum(values.nbytes for values in held.values()) <= 10_000 or len(held) == 1
        assert {index["weight_map"][name] for name in held} == {file}
        together |= held
    assert_equal(together, load_file(GOLDENS / "gemma2" / SINGLE))
    assert index["metadata"]["total_size"] == sum(values.nbytes for values in together.values())
    assert weight_hash(nnx.state(loaded("gemma2", folder=tmp_path))) == weight_hash(
        nnx.state(loaded("gemma2"))
    )


def halves(folder, family):
    shutil.copytree(GOLDENS / family, folder)
    stored = load_file(folder / SINGLE)
    save_file({name: values.astype(ml_dtypes.bfloat16) for name, values in stored.items()}, folder / SINGLE)
    config = json.loads((folder / hf.CONFIG).read_text())
    del config["dtype"]
    (folder / hf.CONFIG).write_text(json.dumps(config | {"torch_dtype": "bfloat16"}))
    return folder


def test_frozen_weights_leave_as_they_came_and_trained_ones_as_they_are_held_or_as_is_asked(tmp_path):
    source = halves(tmp_path / "in", "gpt2")
    stored = load_file(source / SINGLE)
    frozen = loaded("gpt2", lora_config(), folder=source, stored_dtype="bfloat16")
    trained = loaded("gpt2", folder=source)
    for number, (model, dtype, kind) in enumerate(
        [(frozen, None, "bfloat16"), (trained, None, "float32"), (trained, "bfloat16", "bfloat16")]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        found = export(folder, "gpt2", model, dtype=dtype, source=source)
        assert_equal(found, {name: values.astype(kind) for name, values in stored.items()})
        assert json.loads((folder / hf.CONFIG).read_text())["torch_dtype"] == kind


@pytest.mark.parametrize("family", ADAPTERS)
@pytest.mark.parametrize("layer_loop", ["unroll", "scan"])
def test_an_adapter_leaves_merged_into_the_weights(family, layer_loop, tmp_path):
    adapter = ADAPTERS[family]
    found = export(tmp_path, family, loaded(family, adapter, layer_loop=layer_loop))
    expected = load_file(GOLDENS / family / SINGLE)
    halves = load_file(GOLDENS / family / "lora" / peft.TENSORS)
    for name in [name for name in halves if "lora_A" in name]:
        delta_OI = halves[name.replace("lora_A", "lora_B")].astype(np.float64) @ halves[name]
        base = name.removeprefix("base_model.model.").replace("lora_A.weight", "weight")
        expected[base] = expected[base] + adapter.scale * (delta_OI.T if family == "gpt2" else delta_OI)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert_close({name: found[name]}, {name: values}, roundings=adapter.rank)


@pytest.mark.parametrize("family", ADAPTERS)
def test_an_adapter_in_and_out_again_is_the_same_file(family, tmp_path):
    adapter = ADAPTERS[family]
    model = loaded(family, adapter)
    write_adapter(tmp_path, model, golden_config(family), adapter, base=family, revision=None)
    golden = GOLDENS / family / "lora"
    assert (tmp_path / peft.TENSORS).read_bytes() == (golden / peft.TENSORS).read_bytes()
    found, stored = (json.loads((folder / peft.CONFIG).read_text()) for folder in (tmp_path, golden))
    targets = found.pop("target_modules")
    assert all(
        any(one.endswith(f".{end}") or one == end for end in stored["target_modules"]) for one in targets
    )
    assert found == {key: stored[key] for key in found}
    again = loaded(family, adapter.model_copy(update={"weights": str(tmp_path)}))
    assert weight_hash(lora.split(again)[1]) == weight_hash(lora.split(model)[1])


def test_nothing_is_written_over(tmp_path):
    export(tmp_path, "gpt2", loaded("gpt2"))
    with pytest.raises(FileExistsError):
        export(tmp_path, "gpt2", loaded("gpt2"))
