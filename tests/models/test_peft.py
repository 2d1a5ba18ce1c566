"""Adapters out of PEFT folders; what they compute is compared in tests/training/test_lora_goldens.py."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.models.lora_toys import adapted, lora_config
from tests.models.test_gpt2_goldens import SIZES
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
        ({"rank_pattern": {"c_attn": 2}}, r"rank_pattern is \{'c_attn': 2\}"),
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
