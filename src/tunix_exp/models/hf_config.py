"""What config.json of a folder says, against the config: the same model, of which all is understood.

The list of keys is closed: one that is not known may change what is computed, so it is refused by its name.
"""

import json
from pathlib import Path
from typing import Any

from tunix_exp.errors import UserError
from tunix_exp.models.adapter import LoRAConfig
from tunix_exp.models.config import ModelConfig
from tunix_exp.models.families.registry import weight_maps
from tunix_exp.models.hf_kind import (
    family_said,
    kinds_read,
    read_config,
    refuse_another_kind,
    refuse_quantized,
)
from tunix_exp.models.stored import FLOATS
from tunix_exp.models.weight_map import WeightMap
from tunix_exp.received import file_in, named, read_object, shown
from tunix_exp.schema import Config

CONFIG, GENERATION = "config.json", "generation_config.json"
SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")
MERGE = (
    "merge the adapter into its model with PEFT (merge_and_unload, then save_pretrained) and name that folder"
    " in model.weights, with adapter=none or a new adapter"
)


def check_kind(folder: Path, config: ModelConfig) -> None:
    """config.json, if there is one, is of the config's kind of checkpoint, unquantized; else UserError."""
    file = file_in(folder, CONFIG)
    if file is not None:
        found = read_config(file)
        refuse_another_kind(found, file, weight_maps()[config.family])
        refuse_quantized(found, folder, file)


def check_model(folder: Path, config: ModelConfig) -> None:
    """config.json is of the model that `config` says, and the special tokens are of the vocabulary.

    Raises UserError: of another kind of checkpoint at once, else with every difference.
    """
    file = _file(folder, CONFIG, "model")
    check_kind(folder, config)
    _refuse_differences(read_config(file), config, weight_maps()[config.family], file, "model", "family")
    for name in (CONFIG, GENERATION):
        _with_special_tokens(folder, name, config.vocab_size)


def told_model(folder: Path, family: str | None) -> tuple[str, dict[str, Any]]:
    """The family of the folder's model, and what config.json says of it, by the keys of the family's config.

    Raises UserError for a model that is of no family, or of another than `family` where that is known, and
    with all that is not understood or not computed.
    """
    file = _file(folder, CONFIG, "model")
    found = read_config(file)
    family = family or family_said(found, file)
    if family is None:
        raise UserError(
            f"config.json has no model_type, by which the family of the model is known; {kinds_read()}",
            where=str(file),
            remedy="write the model_type into it, or choose an option of the model group that has the family",
        )
    weight_map = weight_maps()[family]
    refuse_another_kind(found, file, weight_map)
    refuse_quantized(found, folder, file)
    others = "name other weights in model.weights"
    _refuse_unknown(found, weight_map, file, others)
    normal = weight_map.normalise(found)
    faults = _not_computed(normal, weight_map, f"model.family={family} computes")
    faults += [f"{key} is missing" for key, _ in weight_map.dimensions if key not in normal]
    if faults:
        raise _refusal("config.json says what is not computed, or not enough:", faults, file, others)
    return family, dict(weight_map.unsaid) | {ours: normal[key] for key, ours in weight_map.dimensions}


def stored_dtype(folder: Path) -> str | None:
    """The dtype that config.json says the weights are stored in, one of `FLOATS`; None where it says none."""
    found = read_config(_file(folder, CONFIG, "model"))
    said = str(found.get("dtype") or found.get("torch_dtype")).removeprefix("torch.")
    return said if said in FLOATS.values() else None


def check_adapter(folder: Path, name: str, config: LoRAConfig, weight_map: WeightMap) -> dict[str, Any]:
    """What the adapter's config, `name`, says, which is what `config` says; else UserError."""
    file = _file(folder, name, "adapter")
    found = read_object(file)
    _refuse_differences(found, config, weight_map, file, "adapter", "name")
    return found


def end_ids(folder: Path, vocab_size: int) -> tuple[int, ...]:
    """The tokens that `eos_token_id` names, one or several, in generation_config.json, else config.json."""
    for name in (GENERATION, CONFIG):
        said = _with_special_tokens(folder, name, vocab_size).get("eos_token_id")
        if said is not None:
            return tuple(said) if isinstance(said, list) else (said,)
    return ()


def _with_special_tokens(folder: Path, name: str, vocab_size: int) -> dict[str, Any]:
    """What the file says, nothing where there is none; UserError where a special token is not one."""
    file = file_in(folder, name)
    if file is None:
        return {}
    found = read_config(file) if name == CONFIG else read_object(file)
    faults = [
        f"{key} is {shown(found[key])}, not the number of a token, 0 to {vocab_size - 1}"
        for key in SPECIAL
        if key in found and not _tells_tokens(key, found[key], vocab_size)
    ]
    if faults:
        raise UserError(
            "; ".join(faults),
            where=str(file),
            remedy=f"write the number that the tokenizer gives the token into {name}, or null",
        )
    return found


def _tells_tokens(key: str, value: Any, vocab_size: int) -> bool:
    """Whether `value` is the number of a token, null, or several where a key may name several."""
    numbers = value if key == "eos_token_id" and isinstance(value, list) and value else [value]
    return value is None or all(type(number) is int and 0 <= number < vocab_size for number in numbers)


def _file(folder: Path, name: str, group: str) -> Path:
    file = file_in(folder, name)
    if file is None:
        kind = "Hugging Face folder" if group == "model" else "PEFT folder"
        raise UserError(f"no {name} in {folder}", where=f"{group}.weights", remedy=f"name a complete {kind}")
    return file


def _refuse_differences(
    found: dict[str, Any], config: Config, weight_map: WeightMap, file: Path, group: str, tag: str
) -> None:
    """Nothing, or UserError with all that is not understood, or else with all that differs."""
    others = f"name other weights in {group}.weights"
    if group == "adapter":
        others += f", or {MERGE}"
    _refuse_unknown(found, weight_map, file, others)
    faults, overrides = _differences(weight_map.normalise(found), config, weight_map, group, tag)
    if faults:
        remedy = f"type {' '.join(overrides)}, or {others}" if overrides else others
        raise _refusal(f"the weights are of another {group} than the config:", faults, file, remedy)


def _refuse_unknown(found: dict[str, Any], weight_map: WeightMap, file: Path, others: str) -> None:
    """Nothing, or UserError with all that is not understood; `others` is the remedy that always helps."""
    # A null says nothing, whatever its key.
    unknown = [key for key, value in found.items() if key not in weight_map.kinds and value is not None]
    faults = [
        f"{named(key)} is {shown(found[key])}, and what that changes is not known here" for key in unknown
    ]
    faults += [
        f"{key} is {shown(found[key])}, not {kind.name}"
        for key, kind in weight_map.kinds.items()
        if key in found and not kind.holds(found[key])
    ]
    if faults:
        if unknown:
            others += f"; if {', '.join(map(named, unknown))} changes nothing that is computed, take it out"
        raise _refusal(f"{file.name} holds what is not understood here:", faults, file, others)


def _refusal(head: str, faults: list[str], file: Path, remedy: str) -> UserError:
    lines = "\n".join([head, *(f"  {fault}" for fault in faults)])
    return UserError(lines, where=str(file), remedy=remedy)


def _differences(
    found: dict[str, Any], config: Config, weight_map: WeightMap, group: str, tag: str
) -> tuple[list[str], list[str]]:
    """What differs between the two, and the overrides that would mend it."""
    faults, overrides = [], []
    for key, ours in weight_map.dimensions:
        expected = getattr(config, ours)
        if key not in found:
            faults.append(f"{key} is missing, {group}.{ours} is {expected}")
        elif found[key] != expected:
            faults.append(f"{key} is {named(str(found[key]))}, {group}.{ours} is {expected}")
            overrides.append(f"{group}.{ours}={json.dumps(found[key])}")
    return faults + _not_computed(
        found, weight_map, f"{group}.{tag}={getattr(config, tag)} computes"
    ), overrides


def _not_computed(found: dict[str, Any], weight_map: WeightMap, computes: str) -> list[str]:
    """What is said, or left out, of the keys that have one value alone."""
    faults = []
    for key, only in weight_map.fixed.items():
        if key not in found and key not in weight_map.optional:
            faults.append(f"{key} is missing, {computes} {only!r} alone")
        elif key in found and found[key] != only:
            faults.append(f"{key} is {shown(found[key])}, {computes} {only!r} alone")
    return faults
