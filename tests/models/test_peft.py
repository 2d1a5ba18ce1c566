"""Adapters out of PEFT folders; what they compute is compared in tests/training/test_lora_goldens.py."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from tests.models.families.gpt2.test_goldens import SIZES
from tests.models.lora_toys import adapted, lora_config
from tests.models.toys import toy_model
from tunix_exp.errors import UserError
from tunix_exp.models import lora, peft
from tunix_exp.models.digest import weight_hash

STORED = Path(__file__).parents[1] / "goldens" / "gpt2" / "lora"
CONFIG = lora_config(rank=4, alpha=8.0)


@pytest.fixture
def folder(tmp_path):
    for name in (peft.CONFIG, peft.TENSORS):
        shutil.copy(STORED / name, tmp_path / name)
    return tmp_path


def read(folder, config=CONFIG, **changes):
    model = adapted(config=config, is_new=True, **SIZES, **changes)
    return model, peft.read(model, folder, config, family="gpt2", num_layers=2)


def change(file, **keys):
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


def test_every_value_is_where_it_belongs(folder):
    model, files = read(folder)
    stored = load_file(folder / peft.TENSORS)
    a = stored["base_model.model.transformer.h.1.attn.c_attn.lora_A.weight"]
    b = stored["base_model.model.transformer.h.0.attn.c_proj.lora_B.weight"]
    np.testing.assert_array_equal(model.blocks[1].attention.qkv.lora.a[...], a.T)
    np.testing.assert_array_equal(model.blocks[0].attention.out.lora.b[...], b.T)
    assert sorted(files) == [peft.CONFIG, peft.TENSORS]


def test_both_layer_loops_read_the_same(folder):
    hashes = [weight_hash(lora.split(read(folder, layer_loop=loop)[0])[1]) for loop in ("unroll", "scan")]
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"r": 8}, r"r is 8, adapter.rank is 4(?s:.)*type adapter.rank=8"),
        ({"lora_alpha": 16}, r"lora_alpha is 16, adapter.alpha is 8.0"),
        ({"use_rslora": True}, r"use_rslora is rslora, adapter.scaling is lora"),
        ({"use_dora": True}, r"use_dora is True, adapter.name=lora computes False alone"),
        (
            {"rank_pattern": {"c_attn": 2}},
            r"h.0.attn.c_attn.lora_A.weight' has rank 4, by r and rank_pattern 2",
        ),
        ({"rank_pattern": {"c_attn": 8}}, r"largest rank by r and rank_pattern is 8(?s:.)*adapter.rank=8"),
        ({"rank_pattern": {"c_attn": "2"}}, r"rank_pattern is .*, not an object that gives modules"),
        ({"rank_pattern": {"(": 2}}, r"rank_pattern is .*, not an object that gives modules"),
        ({"layers_pattern": "h"}, r"layers_pattern is there without layers_to_transform"),
        ({"target_modules": "(.*", "rank_pattern": {}}, r"target_modules is '\(\.\*', not names of modules"),
        (
            {"target_modules": r".*attn\.c_\w+", "layers_to_transform": [0]},
            "layers_to_transform is for a list of target_modules",
        ),
        (
            {"target_modules": None, "exclude_modules": ["x"]},
            "exclude_modules is there without target_modules",
        ),
        ({"exclude_modules": "(.*)"}, "h.0.attn.c_attn' has tensors and is not named"),
    ],
)
def test_an_adapter_of_another_config_is_refused_key_by_key(folder, keys, text):
    change(folder / peft.CONFIG, **keys)
    with pytest.raises(UserError, match=text):
        read(folder)


def test_an_adapter_of_other_targets_is_refused_tensor_by_tensor(folder):
    with pytest.raises(UserError, match=r"h.0.mlp.c_fc.lora_A.weight is missing(?s:.)*adapter.targets"):
        read(folder, config=lora_config(rank=4, alpha=8.0, targets=("all",)))
    with pytest.raises(UserError, match=r"attn.c_proj.lora_A.weight is not used by the model"):
        read(folder, config=lora_config(rank=4, alpha=8.0, targets=("c_attn",)))


def test_a_folder_without_tensors_is_refused(folder):
    (folder / peft.TENSORS).unlink()
    with pytest.raises(UserError, match=r"no adapter_model.safetensors in (?s:.)*adapter.weights=random"):
        read(folder)


def test_stored_values_of_another_dtype_become_float32(folder):
    halves = {name: values.astype(np.float16) for name, values in load_file(folder / peft.TENSORS).items()}
    save_file(halves, folder / peft.TENSORS)
    trained = lora.split(read(folder)[0])[1]
    assert {leaf.dtype for leaf in jax.tree.leaves(trained)} == {np.dtype("float32")}


# As PEFT 0.3 saved them; a config that leaves keys out has their plain values.
OLD = (
    "base_model_name_or_path", "bias", "fan_in_fan_out", "inference_mode", "init_lora_weights", "lora_alpha",
    "lora_dropout", "modules_to_save", "peft_type", "r", "target_modules", "task_type",
)  # fmt: skip


def test_adapters_of_old_and_new_versions_are_read(folder):
    new, _ = read(folder)
    said = json.loads((folder / peft.CONFIG).read_text())
    (folder / peft.CONFIG).write_text(json.dumps({key: said[key] for key in OLD} | {"enable_lora": None}))
    old, _ = read(folder)
    assert weight_hash(lora.split(old)[1]) == weight_hash(lora.split(new)[1])


# Keys of PEFT's own config that tell nothing of what is computed, or are compared with ours.
HARMLESS = {
    "auto_mapping", "base_model_name_or_path", "fan_in_fan_out", "inference_mode", "lora_dropout",
    "megatron_core", "peft_version", "qalora_group_size", "revision",
}  # fmt: skip
KEYS = sorted(json.loads((STORED / peft.CONFIG).read_text()).keys() - HARMLESS)


@pytest.mark.parametrize("key", [*KEYS, "a_key_of_tomorrow"])
@pytest.mark.parametrize(
    "value", [True, 3, "x", ["x"], {"x": 1}], ids=["flag", "number", "text", "list", "object"]
)
def test_every_key_with_another_value_than_the_plain_one_is_refused_by_its_name(folder, key, value):
    if (key, value) in [("exclude_modules", "x"), ("exclude_modules", ["x"]), ("init_lora_weights", True)]:
        return  # nothing is excluded by a name that is none, and how A and B begin changes nothing
    change(folder / peft.CONFIG, **{key: value})
    with pytest.raises(UserError, match=rf"\b{key}\b"):
        read(folder)


@pytest.mark.parametrize(
    "way", ["pissa", "pissa_niter_4", "olora", "corda", "eva", "loftq", "lora_ga", "mica", 1, None]
)
def test_an_adapter_beside_a_base_that_was_changed_is_refused(folder, way):
    change(folder / peft.CONFIG, init_lora_weights=way)
    with pytest.raises(UserError, match=f"init_lora_weights is {way!r}, not one of true, false"):
        read(folder)


@pytest.mark.parametrize("way", [True, False, "gaussian", "orthogonal"])
def test_how_an_adapter_began_changes_nothing(folder, way):
    change(folder / peft.CONFIG, init_lora_weights=way)
    read(folder)


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (["attn.c_attn"], "h.0.attn.c_proj' has tensors and is not named"),
        (["c_attn", "attn.c_proj", "lm_head"], "'lm_head' is named and has no tensors"),
    ],
)
def test_targets_that_are_not_those_of_the_tensors_are_refused(folder, targets, says):
    change(folder / peft.CONFIG, target_modules=targets)
    with pytest.raises(UserError, match=says):
        read(folder)


def test_a_pickled_adapter_is_refused_as_one(folder):
    (folder / peft.TENSORS).rename(folder / "adapter_model.bin")
    with pytest.raises(
        UserError, match=r"the weights are pickled \(adapter_model.bin\)[\s\S]*PEFT: save_pre"
    ):
        read(folder)


def test_an_adapter_is_checked_against_shapes_alone(folder):
    shapes = lora.attached_shapes(nnx.eval_shape(lambda: toy_model(**SIZES)), CONFIG, family="gpt2")
    peft.check(shapes, folder, CONFIG, family="gpt2", num_layers=2)
    (folder / peft.TENSORS).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match=r"adapter_model\.safetensors is a Git LFS pointer"):
        peft.check(shapes, folder, CONFIG, family="gpt2", num_layers=2)
