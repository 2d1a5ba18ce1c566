"""Which kind of checkpoint config.json is of: one that is read, or refused by what it is; no JAX."""

from pathlib import Path
from typing import Any

from tunix_exp.errors import UserError
from tunix_exp.models.families.registry import weight_maps
from tunix_exp.models.weight_map import WeightMap
from tunix_exp.received import file_in, named, shown

_PARTS = ("text_config", "vision_config", "audio_config")
_QUANTIZED = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")


def _kinds() -> dict[str, str]:
    """The families, by the model_type that config.json has."""
    return {names.fixed["model_type"]: family for family, names in weight_maps().items()}


def kinds_read() -> str:
    """Which kinds of checkpoint there are, for a refusal of another."""
    return f"the kinds that are read are the text-only {', '.join(_kinds())}"


def _kind_said(found: dict[str, Any]) -> str:
    classes = found.get("architectures")
    classes_named = (
        ", ".join(map(str, classes)) if isinstance(classes, list) and classes else "no architecture named"
    )
    return f"model_type is {shown(found.get('model_type'))} ({named(classes_named)})"


def family_said(found: dict[str, Any], file: Path) -> str | None:
    """The family that config.json is of, None where it says none.

    Raises UserError that says which kind of checkpoint this is, and which kinds are read.
    """
    kind, known = found.get("model_type"), _kinds()
    what, read = _kind_said(found), kinds_read()
    parts = [part for part in _PARTS if found.get(part) is not None]
    if parts or any(kind in names.multimodal for names in weight_maps().values()):
        hints = [names.text_only for names in weight_maps().values() if names.text_only]
        raise UserError(
            f"the folder holds a multimodal checkpoint: {what}; {read}",
            where=str(file),
            remedy="; ".join(["name a text-only checkpoint in model.weights", *hints]),
        )
    if kind is None:
        return None
    if not isinstance(kind, str) or kind not in known:
        raise UserError(
            f"the folder holds another kind of model: {what}; {read}",
            where=str(file),
            remedy="name weights of one of these kinds in model.weights",
        )
    return known[kind]


def refuse_another_kind(found: dict[str, Any], file: Path, weight_map: WeightMap) -> None:
    """Nothing, or UserError that says which kind of checkpoint this is and which kinds are read."""
    family, kind, classes = family_said(found, file), found.get("model_type"), found.get("architectures")
    if family is None:
        return  # told with all that differs
    if kind != weight_map.fixed["model_type"]:
        raise UserError(
            f"the folder holds another kind of model than the config: {_kind_said(found)}, which is"
            f" model.family={family}",
            where=str(file),
            remedy=f"choose a model of the family {family}, or name other weights in model.weights",
        )
    if isinstance(classes, list) and not set(map(str, classes)) <= set(weight_map.architectures):
        raise UserError(
            f"the folder holds another kind of model: architectures is {shown(classes)}, and of model_type"
            f" {kind} the kinds that are read are {', '.join(weight_map.architectures)}",
            where=str(file),
            remedy="name weights of a causal language model in model.weights",
        )


def refuse_quantized(found: dict[str, Any], folder: Path, file: Path) -> None:
    """Nothing, or UserError with what tells that the weights are quantized."""
    keys = [key for key in found if ("quant" in key or "compress" in key) and found[key] is not None]
    beside = [name for name in _QUANTIZED if file_in(folder, name) is not None]
    if keys or beside:
        told = [f"{named(key)} is {shown(found[key])}" for key in keys] + [f"{n} is there" for n in beside]
        raise UserError(
            f"the weights are quantized: {'; '.join(told)}",
            where=str(file),
            remedy="name the weights as they were before quantization, in float32, bfloat16 or float16",
        )
