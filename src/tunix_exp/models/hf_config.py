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
from tunix_exp.models.weight_map import WeightMap
from tunix_exp.received import file_in, named, read_object, shown
from tunix_exp.schema import Config

CONFIG, GENERATION = "config.json", "generation_config.json"
_SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")
_PARTS = ("text_config", "vision_config", "audio_config")
MERGE = (
    "merge the adapter into its model with PEFT (merge_and_unload, then save_pretrained) and name that folder"
    " in model.weights, with adapter=none or a new adapter"
)
_QUANTIZED = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")


def check_kind(folder: Path, config: ModelConfig) -> None:
    """config.json, if there is one, is of the config's kind of checkpoint, unquantized; else UserError."""
    file = file_in(folder, CONFIG)
    if file is not None:
        found = read_object(file)
        _refuse_another_kind(found, file, weight_maps()[config.family])
        _refuse_quantized(found, folder, file)


def check_model(folder: Path, config: ModelConfig) -> None:
    """config.json is of the model that `config` says, and the special tokens are of the vocabulary.

    Raises UserError: of another kind of checkpoint at once, else with every difference.
    """
    file = _file(folder, CONFIG, "model")
    check_kind(folder, config)
    _refuse_differences(read_object(file), config, weight_maps()[config.family], file, "model", "family")
    for name in (CONFIG, GENERATION):
        _with_special_tokens(folder, name, config.vocab_size)


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
    found = read_object(file)
    faults = [
        f"{key} is {shown(found[key])}, not the number of a token, 0 to {vocab_size - 1}"
        for key in _SPECIAL
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


def _refuse_another_kind(found: dict[str, Any], file: Path, weight_map: WeightMap) -> None:
    """Nothing, or UserError that says which kind of checkpoint this is and which kinds are read."""
    kind, classes = found.get("model_type"), found.get("architectures")
    known = {names.fixed["model_type"]: family for family, names in weight_maps().items()}
    classes_named = (
        ", ".join(map(str, classes)) if isinstance(classes, list) and classes else "no architecture named"
    )
    what = f"model_type is {shown(kind)} ({named(classes_named)})"
    read = f"the kinds that are read are the text-only {', '.join(known)}"
    parts = [part for part in _PARTS if found.get(part) is not None]
    if parts or any(kind in names.multimodal for names in weight_maps().values()):
        hints = [names.text_only for names in weight_maps().values() if names.text_only]
        raise UserError(
            f"the folder holds a multimodal checkpoint: {what}; {read}",
            where=str(file),
            remedy="; ".join(["name a text-only checkpoint in model.weights", *hints]),
        )
    if kind is None:
        return  # told with all that differs
    if not isinstance(kind, str) or kind not in known:
        raise UserError(
            f"the folder holds another kind of model: {what}; {read}",
            where=str(file),
            remedy="name weights of one of these kinds in model.weights",
        )
    if kind != weight_map.fixed["model_type"]:
        raise UserError(
            f"the folder holds another kind of model than the config: {what}, which is"
            f" model.family={known[kind]}",
            where=str(file),
            remedy=f"choose a model of the family {known[kind]}, or name other weights in model.weights",
        )
    if isinstance(classes, list) and not set(map(str, classes)) <= set(weight_map.architectures):
        raise UserError(
            f"the folder holds another kind of model: architectures is {shown(classes)}, and of model_type"
            f" {kind} the kinds that are read are {', '.join(weight_map.architectures)}",
            where=str(file),
            remedy="name weights of a causal language model in model.weights",
        )


def _refuse_quantized(found: dict[str, Any], folder: Path, file: Path) -> None:
    keys = [key for key in found if ("quant" in key or "compress" in key) and found[key] is not None]
    beside = [name for name in _QUANTIZED if file_in(folder, name) is not None]
    if keys or beside:
        told = [f"{named(key)} is {shown(found[key])}" for key in keys] + [f"{n} is there" for n in beside]
        raise UserError(
            f"the weights are quantized: {'; '.join(told)}",
            where=str(file),
            remedy="name the weights as they were before quantization, in float32, bfloat16 or float16",
        )


def _refuse_differences(
    found: dict[str, Any], config: Config, weight_map: WeightMap, file: Path, group: str, tag: str
) -> None:
    """Nothing, or UserError with all that is not understood, or else with all that differs."""
    others = f"name other weights in {group}.weights"
    if group == "adapter":
        others += f", or {MERGE}"
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
    faults, overrides = _differences(weight_map.normalise(found), config, weight_map, group, tag)
    if faults:
        remedy = f"type {' '.join(overrides)}, or {others}" if overrides else others
        raise _refusal(f"the weights are of another {group} than the config:", faults, file, remedy)


def _refusal(head: str, faults: list[str], file: Path, remedy: str) -> UserError:
    lines = "\n".join([head, *(f"  {fault}" for fault in faults)])
    return UserError(lines, where=str(file), remedy=remedy)


def _differences(
    found: dict[str, Any], config: Config, weight_map: WeightMap, group: str, tag: str
) -> tuple[list[str], list[str]]:
    """What differs between the two, and the overrides that would mend it."""
    computes = f"{group}.{tag}={getattr(config, tag)} computes"
    faults, overrides = [], []
    for key, ours in weight_map.dimensions:
        expected = getattr(config, ours)
        if key not in found:
            faults.append(f"{key} is missing, {group}.{ours} is {expected}")
        elif found[key] != expected:
            faults.append(f"{key} is {named(str(found[key]))}, {group}.{ours} is {expected}")
            overrides.append(f"{group}.{ours}={json.dumps(found[key])}")
    for key, only in weight_map.fixed.items():
        if key not in found and key not in weight_map.optional:
            faults.append(f"{key} is missing, {computes} {only!r} alone")
        elif key in found and found[key] != only:
            faults.append(f"{key} is {shown(found[key])}, {computes} {only!r} alone")
    return faults, overrides
