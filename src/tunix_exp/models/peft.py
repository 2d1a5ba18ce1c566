"""Adapters in PEFT's form: a folder with adapter_model.safetensors and adapter_config.json."""

from pathlib import Path
from typing import Any

import jax
from flax import nnx

from tunix_exp.errors import UserError
from tunix_exp.models import hf, lora
from tunix_exp.models.adapter import LoRAConfig
from tunix_exp.models.names import MAPS
from tunix_exp.models.weight_map import Row, WeightMap

TENSORS, CONFIG = "adapter_model.safetensors", "adapter_config.json"

# What else adapter_config.json may change, and the only value that is computed; missing, it has that value.
_FIXED: dict[str, Any] = {
    "peft_type": "LORA",
    "bias": "none",
    "lora_bias": False,
    "use_dora": False,
    "modules_to_save": None,
    "layers_to_transform": None,
    "layer_replication": None,
    "rank_pattern": {},
    "alpha_pattern": {},
    "trainable_token_indices": None,
    "target_parameters": None,
}


_OTHERS = "name an adapter of these targets in adapter.weights, or change adapter.targets"


def weight_map(family: str) -> WeightMap:
    """PEFT's names beside the products of a family: A is [ranks, inputs] there, B [outputs, ranks]."""
    base = MAPS[family]
    rows = []
    for row in base.rows:
        if row.path.endswith("/kernel"):
            name, path = row.name.removesuffix(".weight"), row.path.removesuffix("/kernel")
            rows.append(Row(f"{name}.lora_A.weight", f"{path}/lora/a", _turned))
            rows.append(Row(f"{name}.lora_B.weight", f"{path}/lora/b", _turned))
    return WeightMap(
        rows=tuple(rows),
        prefix=f"base_model.model.{base.prefix}",
        not_parameters=(),
        tied=("", ""),
        dimensions=(("r", "rank"), ("lora_alpha", "alpha"), ("use_rslora", "scaling")),
        fixed=_FIXED,
        optional=frozenset(_FIXED),
        normalise=_normalised,
    )


def read(
    model: nnx.Module, folder: Path, config: LoRAConfig, *, family: str, num_layers: int
) -> dict[str, str]:
    """`model`'s adapter has the values stored in `folder`; returns the sha256 of its files.

    Raises UserError with every misfit of the config, or else of the tensors.
    """
    names = _fitting_names(folder, config, family)
    values, _ = hf.filled_from([folder / TENSORS], names, _shapes(model), num_layers, remedy=_OTHERS)
    nnx.update(model, values)
    return {name: hf.sha256(folder / name) for name in (CONFIG, TENSORS)}


def check(model: nnx.Module, folder: Path, config: LoRAConfig, *, family: str, num_layers: int) -> None:
    """`read` would give `model`'s adapter, which may be of shapes alone, the values stored in `folder`.

    Raises UserError as `read` does.
    """
    names = _fitting_names(folder, config, family)
    hf.checked([folder / TENSORS], names, _shapes(model), num_layers, remedy=_OTHERS)


def _fitting_names(folder: Path, config: LoRAConfig, family: str) -> WeightMap:
    """The names in the adapter of `folder`, which is there and whose config is `config`."""
    try:
        is_there = (folder / TENSORS).is_file()
    except OSError:  # a name that is too long for the system names nothing
        is_there = False
    if not is_there:
        raise UserError(
            f"no {TENSORS} in {folder}",
            where="adapter.weights",
            remedy="name the folder of a PEFT adapter, or set adapter.weights=random",
        )
    names = weight_map(family)
    hf.check_config(folder, config, names, name=CONFIG, group="adapter", tag="name")
    return names


def _shapes(model: nnx.Module) -> nnx.State:
    _, trained, _ = lora.split(model)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), trained)


def _normalised(found: dict[str, Any]) -> dict[str, Any]:
    """adapter_config.json with its scaling by our name."""
    return found | {"use_rslora": "rslora" if found.get("use_rslora") else "lora"}


def _turned(matrix: Any) -> Any:
    return matrix.T
