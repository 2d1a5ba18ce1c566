"""Folders damaged at random are refused in plain words, or read as they were before."""

import json
import os
import shutil
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from tests.damage import refusals
from tests.models.families.goldens import ADAPTERS, CONFIGS, GOLDENS, golden_config
from tests.models.lora_toys import lora_config
from tunix_exp.models import hf, lora, peft, weights
from tunix_exp.models.adapter import NoAdapterConfig
from tunix_exp.models.architecture import abstract, build
from tunix_exp.models.digest import weight_hash
from tunix_exp.models.safetensors_file import stored

# A few seeds always; more by hand: DAMAGED_SEEDS=0:200 pytest tests/models/test_damaged.py
SEEDS = range(*map(int, os.environ.get("DAMAGED_SEEDS", "0:8").split(":")))
NONE = NoAdapterConfig(name="none")
FORMS = [(family, form) for family in CONFIGS for form in ("single", "shards")]


@cache
def shapes_of(family):
    model = abstract(golden_config(family), param_dtype=jnp.float32, compute_dtype=jnp.float32)
    return nnx.state(model)


def checkpoint(folder, family, form):
    """A small checkpoint of the family, in one file or in three shards."""
    folder.mkdir()
    for name in (hf.CONFIG, hf.GENERATION):
        shutil.copy(GOLDENS / family / name, folder)
    if form == "single":
        shutil.copy(GOLDENS / family / "model.safetensors", folder)
        return folder
    values = load_file(GOLDENS / family / "model.safetensors")
    where = {name: f"model-{number % 3}.safetensors" for number, name in enumerate(sorted(values))}
    for file in set(where.values()):
        save_file({name: values[name] for name in where if where[name] == file}, folder / file)
    (folder / hf.INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    return folder


def headers(folder):
    """Of every file of weights its tensors but for where they lie: their bytes are told by nothing."""
    return {
        file.name: {(tensor.name, tensor.dtype, tensor.shape) for tensor in stored(file)}
        for file in folder.glob("*.safetensors")
    }


@pytest.mark.parametrize(("family", "form"), FORMS)
def test_a_damaged_checkpoint_is_refused_or_read_as_it_was(tmp_path, family, form):
    whole = checkpoint(tmp_path / "whole", family, form)
    before = headers(whole)

    def read(folder):
        config = golden_config(family, weights=str(folder))
        weights.check_access(config, NONE)
        return weight_hash(hf.read(folder, config, shapes_of(family)).params)

    original = read(whole)
    refused = refusals(whole, tmp_path, SEEDS, read, lambda h, f: h == original or headers(f) == before)
    assert len(refused) > len(SEEDS) // 4


@pytest.mark.parametrize("family", ADAPTERS)
def test_a_damaged_adapter_is_refused_or_read_as_it_was(tmp_path, family):
    whole = shutil.copytree(GOLDENS / family / "lora", tmp_path / "whole")
    before, said = headers(whole), json.loads((whole / peft.CONFIG).read_text())
    config = lora_config(
        rank=said["r"],
        alpha=float(said["lora_alpha"]),
        scaling="rslora" if said["use_rslora"] else "lora",
        targets=tuple(said["target_modules"]),
    )
    base = build(golden_config(family), param_dtype=jnp.float32, compute_dtype=jnp.float32, seed=0)
    model = lora.attach(base, config, family=family, seed=0)
    values, layers = lora.split(model)[1], golden_config(family).num_layers

    def read(folder):
        nnx.update(model, jax.tree.map(jnp.zeros_like, values))
        peft.check(model, folder, config, family=family, num_layers=layers)
        peft.read(model, folder, config, family=family, num_layers=layers)
        return weight_hash(lora.split(model)[1])

    original = read(whole)
    refused = refusals(whole, tmp_path, SEEDS, read, lambda h, f: h == original or headers(f) == before)
    assert len(refused) > len(SEEDS) // 4


def test_a_change_of_one_value_is_the_one_damage_that_headers_do_not_tell(tmp_path):
    folder = checkpoint(tmp_path / "whole", "gpt2", "single")
    before = headers(folder)
    values = load_file(folder / "model.safetensors")
    values["transformer.ln_f.bias"] += np.float32(1)
    save_file(values, folder / "model.safetensors", metadata={"format": "pt"})
    assert headers(folder) == before
