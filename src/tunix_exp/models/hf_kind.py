"""Which kind of checkpoint config.json is of: one that is read, or refused by what it is; no JAX."""

from pathlib import Path
from typing import Any

from tunix_exp.errors import UserError
from tunix_exp.models.families.registry import weight_maps
from tunix_exp.models.weight_map import WeightMap
from tunix_exp.received import file_in, named, read_object, shown

QUANTIZED_REMEDY = "name the weights as they were before quantization, in float32, bfloat16 or float16"
_PARTS = ("text_config", "vision_config", "audio_config")
_OF_THE_WHOLE = (
    "bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings", "dtype", "torch_dtype",
    "transformers_version",
)  # fmt: skip
_QUANTIZED = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")


def read_config(file: Path) -> dict[str, Any]:
    """What config.json says of the text model, which of some is a part of it.

    Raises UserError for a part that is not understood beside it.
    """
    found = read_object(file)
    within = {names.within.model_type: names for names in weight_maps().values() if names.within is not None}
    kind = found.get("model_type")
    return _text_part(found, within[kind], file) if isinstance(kind, str) and kind in within else found


def _text_part(found: dict[str, Any], names: WeightMap, file: Path) -> dict[str, Any]:
    """Its text_config with what the whole says of the tokens, the tied tables and the stored type."""
    assert names.within is not None
    text = found.get("text_config")
    faults = [] if isinstance(text, dict) else [f"text_config is {shown(text)}, not an object"]
    faults += [
        f"{named(key)} is {shown(value)}, and what that changes is not known here"
        for key, value in found.items()
        if key not in names.within.kinds
        and value is not None
        and "quant" not in key
        and "compress" not in key
    ]
    text = text if isinstance(text, dict) else {}
    tied = "tie_word_embeddings"
    if tied in found and tied in text and found[tied] != text[tied]:
        faults.append(f"{tied} is {shown(found[tied])}, and in text_config {shown(text[tied])}")
    if faults:
        raise UserError(
            "\n".join(
                [
                    "config.json of more than text holds what is not understood here:",
                    *(f"  {f}" for f in faults),
                ]
            ),
            where=str(file),
            remedy="name other weights in model.weights",
        )
    whole = {key: found[key] for key in found if key in _OF_THE_WHOLE or "quant" in key or "compress" in key}
    own = {key: value for key, value in text.items() if key != "architectures"}
    begun = {"model_type": names.fixed["model_type"], "architectures": list(names.architectures[:1])}
    return begun | own | {key: value for key, value in whole.items() if value is not None}


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
        others = [names.within.model_type for names in weight_maps().values() if names.within is not None]
        raise UserError(
            f"the folder holds a multimodal checkpoint: {what}; {read}",
            where=str(file),
            remedy="name a text-only checkpoint in model.weights, or one of which the text part is read"
            f" (model_type {', '.join(others)})",
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
        methods = [found[key].get("quant_method") for key in keys if isinstance(found[key], dict)]
        by = "".join(f" by {named(method)}" for method in methods if isinstance(method, str))
        raise UserError(
            f"the weights are quantized{by}: {'; '.join(told)}",
            where=str(file),
            remedy=QUANTIZED_REMEDY,
        )
