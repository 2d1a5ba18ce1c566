"""Adapters in PEFT's form: a folder with adapter_model.safetensors and adapter_config.json.

Ranks and alphas of single layers become those of the config: A and B are filled with zeros up to its rank,
which stay zero, as each one's gradient is a product with the other; and B has what remains of the scale. A
layer that is not adapted while others of its kind are has zeros alone.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from tunix_exp.errors import UserError
from tunix_exp.models import hf, lora, peft_config
from tunix_exp.models.adapter import LoRAConfig, scale_of
from tunix_exp.models.families.registry import weight_maps
from tunix_exp.models.hf_config import MERGE, check_adapter
from tunix_exp.models.peft_config import Adapted
from tunix_exp.models.safetensors_file import Stored
from tunix_exp.models.stored import check_folder, pickled_or_absent, tensors
from tunix_exp.models.weight_map import Row, WeightMap, by_path, transposed
from tunix_exp.received import file_in, shown

TENSORS, CONFIG = "adapter_model.safetensors", "adapter_config.json"

_OTHERS = "name an adapter of these targets in adapter.weights, or change adapter.targets"
_MOST_NAMED = 6

# What else a folder may hold, by the ends of names, and the key of PEFT's that makes it.
_PARTS = (
    (r"lora_embedding_[AB]", "an adapter of an embedding (target_modules)"),
    (r"lora_magnitude_vector(\.weight)?", "magnitudes of DoRA (use_dora)"),
    (r"lora_B\.bias", "a bias of the adapter (lora_bias)"),
    (r"\.bias", "a bias of the model (bias)"),
    (r"trainable_tokens_delta", "single tokens (trainable_token_indices)"),
    (r"(?<!lora_[AB])\.weight", "a module saved whole (modules_to_save, save_embedding_layers)"),
)


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
        fixed=peft_config.FIXED,
        optional=frozenset(peft_config.FIXED),
        kinds=peft_config.KINDS,
    )


def read(
    model: nnx.Module, folder: Path, config: LoRAConfig, *, family: str, num_layers: int
) -> dict[str, str]:
    """`model`'s adapter has the values stored in `folder`; returns the sha256 of its files.

    Raises UserError with every misfit of the config, or else of the tensors.
    """
    found, names = _checked(model, folder, config, family, num_layers)
    values, _ = hf.filled_from(found, folder, names, _shapes(model), num_layers, remedy=_OTHERS)
    nnx.update(model, values)
    return {name: hf.sha256(folder / name) for name in (CONFIG, TENSORS)}


def check(model: nnx.Module, folder: Path, config: LoRAConfig, *, family: str, num_layers: int) -> None:
    """`read` will take `folder` for `model`, which may be one of shapes; no value is read.

    Raises UserError as `read` does.
    """
    _checked(model, folder, config, family, num_layers)


def _shapes(model: nnx.Module) -> nnx.State:
    _, trained, _ = lora.split(model)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), trained)


def _checked(
    model: nnx.Module, folder: Path, config: LoRAConfig, family: str, num_layers: int
) -> tuple[dict[str, Stored], WeightMap]:
    """The tensors as the model's adapter has them, by their names, whose headers fit, as the config does."""
    check_folder(folder, "adapter.weights")
    file = file_in(folder, TENSORS)
    if file is None:
        raise pickled_or_absent(folder, TENSORS, "adapter.weights")
    names = replace(weight_map(family), normalise=partial(_normalised, rank=config.rank))
    said = check_adapter(folder, CONFIG, config, names)
    found = tensors([file], names)
    _refuse_other_parts(found, file)
    products = _products(model, family, num_layers)
    chosen = _chosen(said, found, products, weight_maps()[family].prefix, folder / CONFIG)
    found = _fitted(found, chosen, products, config, folder / CONFIG)
    hf.check_tensors(found, folder, names, _shapes(model), num_layers, remedy=_OTHERS)
    return found, names


def _refuse_other_parts(found: Mapping[str, Stored], file: Path) -> None:
    """Nothing, or UserError with what the tensors are of, where that is no product's A or B."""
    told = {
        f"{shown(tensor.name)} is {what}"
        for tensor in found.values()
        for what in [next((what for end, what in _PARTS if re.search(f"({end})$", tensor.name)), None)]
        if what is not None
    }
    if told:
        raise UserError(
            f"the adapter is more than A and B beside products: {_named(sorted(told))}",
            where=str(file),
            remedy=f"name another adapter in adapter.weights, or {MERGE}",
        )


def _products(model: nnx.Module, family: str, num_layers: int) -> dict[str, str]:
    """Every layer's products by their names in a checkpoint, and each one's path in a block."""
    rows = by_path(weight_maps()[family].rows, num_layers)
    return {
        rows[f"blocks/{layer}/{place.path}/kernel"].name.removesuffix(".weight"): place.path
        for place in lora.places(model, family)
        for layer in ([place.layers] if isinstance(place.layers, int) else place.layers)
    }


def _chosen(
    said: Mapping[str, Any], found: Mapping[str, Stored], products: Mapping[str, str], prefix: str, file: Path
) -> dict[str, Adapted]:
    """The products that the config says are adapted; UserError where the tensors are of others."""
    stored = {name.rpartition(".lora_")[0] for name in found}
    modules = {f"{prefix}{product}": product for product in products}
    faults = peft_config.faults(said, list(modules))
    adapted = None if faults else peft_config.adapted(said, modules)
    if adapted is None:
        kinds = {products[product] for product in stored & products.keys()}
        plain = Adapted(said["r"], said["lora_alpha"])
        adapted = {module: plain for module, product in modules.items() if products[product] in kinds}
    elif not faults:
        chosen = {modules[module] for module in adapted}
        faults += [f"{shown(prefix + name)} is named and has no tensors" for name in sorted(chosen - stored)]
        faults += [f"{shown(prefix + name)} has tensors and is not named" for name in sorted(stored - chosen)]
    if faults:
        keys = [key for key in peft_config.SELECTING if said.get(key)]
        raise UserError(
            f"{', '.join(keys)} and the stored tensors do not agree: {_named(faults)}",
            where=str(file),
            remedy="name an adapter that is whole in adapter.weights",
        )
    return {modules[module]: one for module, one in adapted.items()}


def _fitted(
    found: Mapping[str, Stored],
    chosen: Mapping[str, Adapted],
    products: Mapping[str, str],
    config: LoRAConfig,
    file: Path,
) -> dict[str, Stored]:
    """The tensors with the config's rank and scale, and zeros where just other layers are adapted."""
    largest = max((one.rank for one in chosen.values()), default=config.rank)
    if largest != config.rank:
        raise UserError(
            f"the largest rank by r and rank_pattern is {largest}, adapter.rank is {config.rank}",
            where=str(file),
            remedy=f"type adapter.rank={largest}",
        )
    fitted, likes = dict(found), {}
    for product, one in chosen.items():
        factor = scale_of(one.rank, one.alpha, config.scaling) / config.scale
        for half, axis in (("lora_A", 0), ("lora_B", 1)):
            name = f"{product}.{half}.weight"
            if name not in found or len(found[name].shape) != 2:
                continue  # told with all that does not fit
            tensor = found[name]
            if tensor.shape[axis] != one.rank:
                raise UserError(
                    f"{shown(tensor.name)} has rank {tensor.shape[axis]}, by r and rank_pattern {one.rank}",
                    where=str(file),
                    remedy="name an adapter that is whole in adapter.weights",
                )
            fitted[name] = _widened(tensor, axis, config.rank, factor if half == "lora_B" else 1.0)
            likes[products[product], half] = fitted[name]
    for product, path in products.items():
        for half in ("lora_A", "lora_B"):
            if product not in chosen and (path, half) in likes:
                fitted[f"{product}.{half}.weight"] = replace(likes[path, half], then=np.zeros_like)
    return fitted


def _widened(tensor: Stored, axis: int, rank: int, factor: float) -> Stored:
    """The tensor times `factor`, with zeros up to `rank` along `axis`."""
    if tensor.shape[axis] == rank and factor == 1:
        return tensor
    wide = [(0, 0), (0, 0)]
    wide[axis] = (0, rank - tensor.shape[axis])
    shape = tuple(size + more for size, (_, more) in zip(tensor.shape, wide, strict=True))
    return replace(
        tensor, shape=shape, then=lambda values: np.pad(values.astype(np.float32) * np.float32(factor), wide)
    )


def _named(faults: list[str]) -> str:
    more = [f"… and {len(faults) - _MOST_NAMED} more"] if len(faults) > _MOST_NAMED else []
    return "; ".join([*faults[:_MOST_NAMED], *more])


def _normalised(found: dict[str, Any], *, rank: int) -> dict[str, Any]:
    """adapter_config.json with its scaling by our name; a rank_pattern is looked at by itself."""
    said = {"r": rank} if found.get("rank_pattern") else {}
    return found | said | {"use_rslora": "rslora" if found.get("use_rslora") else "lora"}
