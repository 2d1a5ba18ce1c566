"""A model as a Hugging Face folder and its adapter as a PEFT folder, one parameter after another."""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from huggingface_hub import split_state_dict_into_shards_factory

from tunix_exp.models import lora, peft
from tunix_exp.models.adapter import LoRAConfig, targeted
from tunix_exp.models.config import ModelConfig
from tunix_exp.models.families.registry import weight_maps
from tunix_exp.models.hf_config import CONFIG, GENERATION, SPECIAL
from tunix_exp.models.hf_kind import read_config
from tunix_exp.models.hosts import gathered
from tunix_exp.models.paths import is_stacked, layer_paths, path_of
from tunix_exp.models.safetensors_file import Tensor, in_order, write
from tunix_exp.models.stored import INDEX
from tunix_exp.models.weight_map import WeightMap, by_path, config_json, stored_name, unchanged
from tunix_exp.received import file_in, read_object

SHARD_BYTES = 5 * 10**9


def write_model(
    folder: Path,
    model: nnx.Module,
    config: ModelConfig,
    *,
    dtype: str | None,
    source: Path | None,
    special_ids: Mapping[str, int | list[int]],
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """`folder` holds what transformers loads the model from, but for its tokenizer; an adapter is merged.

    Parameters get `dtype`, or keep their own. Weights that came from a folder, `source`, leave with its
    config.json. `special_ids` are the tokens that generation knows, by their keys there. At any time one
    tensor is held on the host.
    """
    weight_map = weight_maps()[config.family]
    tensors = list(_model_tensors(model, config, weight_map, None if dtype is None else jnp.dtype(dtype)))
    _write_weights(folder, tensors, shard_bytes)
    ids = dict(special_ids)
    if source is None:
        # Where a key is absent, a class of transformers puts an id of its own, of another vocabulary.
        found = config_json(config, weight_map) | dict.fromkeys(SPECIAL) | ids
    else:
        found = read_config(source / CONFIG)
    held = "torch_dtype" if "torch_dtype" in found else "dtype"
    _write(folder / CONFIG, found | {held: tensors[0].dtype.name})
    _write(folder / GENERATION, ({} if source is None else _read(source, GENERATION)) | ids)


def write_adapter(
    folder: Path,
    model: nnx.Module,
    config: ModelConfig,
    adapter: LoRAConfig,
    *,
    base: str | None,
    revision: str | None,
) -> None:
    """`folder` holds what PEFT loads the adapter from, for the model that it finds under the name `base`."""
    names = peft.weight_map(config.family)
    _, trained, _ = lora.split(model)
    _write_tensors(folder / peft.TENSORS, list(_tensors(trained, names, config.num_layers)))
    layers = targeted(config.family, adapter.targets)
    kernels = {row.path.removesuffix("/kernel"): row.transform for row in weight_maps()[config.family].rows}
    _write(
        folder / peft.CONFIG,
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "revision": revision,
            "r": adapter.rank,
            "lora_alpha": adapter.alpha,
            "lora_dropout": adapter.dropout,
            "use_rslora": adapter.scaling == "rslora",
            "target_modules": sorted(layers),
            # Whether the kernels beside them are [inputs, outputs] there too, as in transformers' Conv1D.
            "fan_in_fan_out": kernels[f"blocks/{{layer}}/{next(iter(layers.values()))}"] is unchanged,
            "bias": "none",
            "inference_mode": True,
        },
    )


def _model_tensors(
    model: nnx.Module, config: ModelConfig, weight_map: WeightMap, dtype: np.dtype | None
) -> Iterator[Tensor]:
    return _tensors(
        lora.own_parameters(model), weight_map, config.num_layers, dtype=dtype, adapters=lora.adapters(model)
    )


def _tensors(
    params: nnx.State,
    weight_map: WeightMap,
    num_layers: int,
    *,
    dtype: np.dtype | None = None,
    adapters: Mapping[str, lora.LoRA] | None = None,
) -> Iterator[Tensor]:
    """The parameters under their stored names, each one's values not computed before they are asked for."""
    rows = by_path(weight_map.rows, num_layers)
    for keys, leaf in jax.tree_util.tree_leaves_with_path(params):
        path = path_of(keys)
        adapter = adapters[path] if adapters is not None and path in adapters else None
        stacked = is_stacked(path)
        for index, name in enumerate(layer_paths(path, leaf.shape[0]) if stacked else [path]):
            row, shape = rows[name], leaf.shape[1:] if stacked else leaf.shape
            yield Tensor(
                name=stored_name(row, weight_map),
                shape=jax.eval_shape(row.transform, jax.ShapeDtypeStruct(shape, leaf.dtype)).shape,
                dtype=leaf.dtype if dtype is None else dtype,
                values=partial(_values, leaf, index if stacked else None, adapter, row.transform, dtype),
            )


def _values(
    leaf: jax.Array, index: int | None, adapter: lora.LoRA | None, transform: Any, dtype: np.dtype | None
) -> np.ndarray:
    part = leaf if index is None else leaf[index]
    if adapter is not None:
        part = lora.merged_kernel(part, adapter, index, dtype=dtype or leaf.dtype)
    return transform(np.asarray(gathered(part)))


def _write_weights(folder: Path, tensors: list[Tensor], shard_bytes: int) -> None:
    by_name = {tensor.name: tensor for tensor in sorted(tensors, key=lambda tensor: tensor.name)}
    shards = split_state_dict_into_shards_factory(
        by_name,
        get_storage_size=lambda tensor: tensor.num_bytes,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=shard_bytes,
    )
    for name, names in shards.filename_to_tensors.items():
        _write_tensors(folder / name, [by_name[one] for one in names])
    if shards.is_sharded:
        _write(folder / INDEX, {"metadata": shards.metadata, "weight_map": shards.tensor_to_filename})


def _write_tensors(file: Path, tensors: list[Tensor]) -> None:
    """`file` holds the tensors; of several processes the first writes it, and all give their parts."""
    if jax.process_index() == 0:
        write(file, tensors)
        return
    for tensor in in_order(tensors):
        tensor.values()


def _read(folder: Path, name: str) -> dict[str, Any]:
    """What a file of the folder says; nothing where there is none."""
    file = file_in(folder, name)
    return {} if file is None else read_object(file)


def _write(file: Path, value: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
