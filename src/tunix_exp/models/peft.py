"""Adapters in PEFT's form: a folder with adapter_model.safetensors and adapter_config.json."""

import json
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from tunix_exp.errors import UserError
from tunix_exp.models import hf, lora
from tunix_exp.models.adapter import LoRAConfig
from tunix_exp.models.families.registry import weight_maps
from tunix_exp.models.hf_config import check_adapter
from tunix_exp.models.stored import pickled_or_absent
from tunix_exp.models.weight_map import (
    COUNT,
    FLAG,
    NUMBER,
    OBJECT,
    SHARE,
    TEXT,
    TEXTS,
    Kind,
    Row,
    WeightMap,
    transposed,
)
from tunix_exp.received import file_in, shown

TENSORS, CONFIG = "adapter_model.safetensors", "adapter_config.json"

_OTHERS = "name an adapter of these targets in adapter.weights, or change adapter.targets"

# What else adapter_config.json may change, and the only value that is computed; missing, it has that value.
_FIXED: dict[str, Any] = {
    "peft_type": "LORA",
    "bias": "none",
    "lora_bias": False,
    "use_dora": False,
    "use_qalora": False,
    "ensure_weight_tying": False,
}
# What is of another method, or of other layers than whole products, where it is not empty.
_EMPTY = (
    "alora_invocation_tokens", "alpha_pattern", "enable_lora", "exclude_modules", "layer_replication",
    "layers_pattern", "layers_to_transform", "loftq_config", "modules_to_save", "rank_pattern",
    "target_parameters", "trainable_token_indices",
)  # fmt: skip
# Whole configs of other methods: by an empty one PEFT means their defaults.
_NULL = (
    "arrow_config", "corda_config", "eva_config", "kasa_config", "lora_ga_config", "megatron_config",
    "monteclora_config", "use_bdlora", "velora_config",
)  # fmt: skip
# How A and B began, where that leaves the product's own weights as they were: by their first values.
_BEGINNINGS = (True, False, "gaussian", "orthogonal")


def _is_one_of(value: Any, known: tuple[Any, ...]) -> bool:
    return any(type(value) is type(one) and value == one for one in known)


def _are_targets(value: Any) -> bool:
    return value is None or isinstance(value, str) or TEXTS.holds(value)


# Every key that is understood; PEFT's own LoraConfig has no others that a plain adapter sets.
_KINDS: dict[str, Kind] = {
    "r": COUNT,
    "lora_alpha": NUMBER,
    "use_rslora": FLAG,
    "peft_type": TEXT,
    "bias": TEXT,
    **dict.fromkeys(("lora_bias", "use_dora", "use_qalora", "ensure_weight_tying"), FLAG),
    **dict.fromkeys(_EMPTY, Kind("empty, which alone is computed", lambda value: value in (None, {}, []))),
    **dict.fromkeys(_NULL, Kind("null, which alone is computed", lambda value: value is None)),
    "init_lora_weights": Kind(
        "one of " + ", ".join(json.dumps(one) for one in _BEGINNINGS) + ", which leave the base as it was",
        lambda value: _is_one_of(value, _BEGINNINGS),
    ),
    "target_modules": Kind("names of modules", _are_targets),
    "task_type": Kind("CAUSAL_LM or null", lambda value: value in (None, "CAUSAL_LM")),
    # Without effect on what is computed from A and B.
    "lora_dropout": SHARE,
    **dict.fromkeys(("fan_in_fan_out", "inference_mode", "merge_weights"), FLAG),
    **dict.fromkeys(("base_model_name_or_path", "peft_version", "revision", "megatron_core"), TEXT.or_null()),
    "auto_mapping": OBJECT.or_null(),
    "qalora_group_size": COUNT.or_null(),
}


def weight_map(family: str) -> WeightMap:
    """PEFT's names beside the products of a family: A is [ranks, inputs] there, B [outputs, ranks]."""
    base = weight_maps()[family]
    rows = []
    for row in base.rows:
        if row.path.endswith("/kernel"):
            name, path = row.name.removesuffix(".weight"), row.path.removesuffix("/kernel")
            rows.append(Row(f"{name}.lora_A.weight", f"{path}/lora/a", transposed))
            rows.append(Row(f"{name}.lora_B.weight", f"{path}/lora/b", transposed))
    return WeightMap(
        rows=tuple(rows),
        prefix=f"base_model.model.{base.prefix}",
        not_parameters=(),
        tied=("", ""),
        dimensions=(("r", "rank"), ("lora_alpha", "alpha"), ("use_rslora", "scaling")),
        fixed=_FIXED,
        optional=frozenset(_FIXED),
        kinds=_KINDS,
        normalise=_normalised,
    )


def read(
    model: nnx.Module, folder: Path, config: LoRAConfig, *, family: str, num_layers: int
) -> dict[str, str]:
    """`model`'s adapter has the values stored in `folder`; returns the sha256 of its files.

    Raises UserError with every misfit of the config, or else of the tensors.
    """
    names = weight_map(family)
    shapes = _shapes(model)
    file = _checked(folder, config, names, shapes, num_layers)
    values, _ = hf.filled_from([file], names, shapes, num_layers, remedy=_OTHERS)
    nnx.update(model, values)
    return {name: hf.sha256(folder / name) for name in (CONFIG, TENSORS)}


def check(model: nnx.Module, folder: Path, config: LoRAConfig, *, family: str, num_layers: int) -> None:
    """`read` will take `folder` for `model`, which may be one of shapes; no value is read.

    Raises UserError as `read` does.
    """
    _checked(folder, config, weight_map(family), _shapes(model), num_layers)


def _shapes(model: nnx.Module) -> nnx.State:
    _, trained, _ = lora.split(model)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), trained)


def _checked(folder: Path, config: LoRAConfig, names: WeightMap, shapes: nnx.State, num_layers: int) -> Path:
    """The file of the adapter's tensors, whose headers fit, as its config does."""
    hf.check_folder(folder, "adapter.weights")
    file = file_in(folder, TENSORS)
    if file is None:
        raise pickled_or_absent(folder, TENSORS, "adapter.weights")
    said = check_adapter(folder, CONFIG, config, names)
    found = hf.check_tensors([file], names, shapes, num_layers, remedy=_OTHERS)
    _check_targets(said.get("target_modules"), [tensor.name for tensor in found.values()], folder / CONFIG)
    return file


def _check_targets(said: Any, tensors: list[str], file: Path) -> None:
    """A list of modules names those that the tensors are of, each by its end, as PEFT does, and no others."""
    if not isinstance(said, list):
        return  # a pattern, or PEFT's own choice of modules: the tensors tell what it came to
    modules = {f".{name.rpartition('.lora_')[0]}" for name in tensors}
    lacking = sorted({target for target in said if not any(m.endswith(f".{target}") for m in modules)})
    more = sorted(m[1:] for m in modules if not any(m.endswith(f".{target}") for target in said))
    if lacking or more:
        told = [f"{shown(target)} is named and has no tensors" for target in lacking]
        told += [f"{shown(module)} has tensors and is not named" for module in more]
        raise UserError(
            f"target_modules and the stored tensors do not agree: {'; '.join(told)}",
            where=str(file),
            remedy="name an adapter that is whole in adapter.weights",
        )


def _normalised(found: dict[str, Any]) -> dict[str, Any]:
    """adapter_config.json with its scaling by our name."""
    return found | {"use_rslora": "rslora" if found.get("use_rslora") else "lora"}
