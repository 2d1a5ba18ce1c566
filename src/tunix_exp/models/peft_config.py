"""adapter_config.json of PEFT, key by key: what may stand there, and which products it adapts, and how.

docs/adapters.md has the table of all keys; the definitions are those of PEFT's LoraConfig.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tunix_exp.models.weight_map import COUNT, FLAG, NUMBER, OBJECT, SHARE, TEXT, TEXTS, Kind
from tunix_exp.received import shown

# What decides which products are adapted, in the order in which PEFT asks.
SELECTING = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern")

# Keys of one value that is computed; missing, they have that value.
FIXED: dict[str, Any] = {
    "peft_type": "LORA",
    "bias": "none",
    "lora_bias": False,
    "use_dora": False,
    "use_qalora": False,
    "ensure_weight_tying": False,
}
# What is of another method, or of other parameters than products, where it is not empty.
EMPTY = (
    "alora_invocation_tokens", "enable_lora", "layer_replication", "loftq_config", "modules_to_save",
    "target_parameters", "trainable_token_indices",
)  # fmt: skip
# Whole configs of other methods: by an empty one PEFT means their defaults.
NULL = (
    "arrow_config", "corda_config", "eva_config", "kasa_config", "lora_ga_config", "megatron_config",
    "monteclora_config", "use_bdlora", "velora_config",
)  # fmt: skip
# How A and B began, where that leaves the product's own weights as they were: by their first values.
_BEGINNINGS = (True, False, "gaussian", "orthogonal")


def _is_one_of(value: Any, known: tuple[Any, ...]) -> bool:
    return any(type(value) is type(one) and value == one for one in known)


def _is_expression(value: Any) -> bool:
    try:
        return isinstance(value, str) and re.compile(value) is not None
    except (re.error, RecursionError, OverflowError):
        return False


def _are_modules(value: Any) -> bool:
    return value is None or _is_expression(value) or TEXTS.holds(value)


def _are_layers(value: Any) -> bool:
    numbers = value if isinstance(value, list) else [value]
    return value is None or all(type(number) is int and number >= 0 for number in numbers)


def _are_expressions(value: Any) -> bool:
    return value is None or all(map(_is_expression, value if isinstance(value, list) else [value]))


def _pattern(of: Kind) -> Kind:
    return Kind(
        f"an object that gives modules, by expressions, {of.name}",
        lambda value: (
            value is None
            or (
                isinstance(value, dict)
                and all(map(_is_expression, value))
                and all(map(of.holds, value.values()))
            )
        ),
    )


# Every key that is understood.
KINDS: dict[str, Kind] = {
    "r": COUNT,
    "lora_alpha": NUMBER,
    "use_rslora": FLAG,
    "rank_pattern": _pattern(COUNT),
    "alpha_pattern": _pattern(NUMBER),
    "peft_type": TEXT,
    "bias": TEXT,
    **dict.fromkeys(("lora_bias", "use_dora", "use_qalora", "ensure_weight_tying"), FLAG),
    **dict.fromkeys(EMPTY, Kind("empty, which alone is computed", lambda value: value in (None, {}, []))),
    **dict.fromkeys(NULL, Kind("null, which alone is computed", lambda value: value is None)),
    "init_lora_weights": Kind(
        "one of " + ", ".join(json.dumps(one) for one in _BEGINNINGS) + ", which leave the base as it was",
        lambda value: _is_one_of(value, _BEGINNINGS),
    ),
    **dict.fromkeys(
        ("target_modules", "exclude_modules"), Kind("names of modules, or an expression", _are_modules)
    ),
    "layers_to_transform": Kind("the number of a layer, or several", _are_layers),
    "layers_pattern": Kind("an expression, or several", _are_expressions),
    "task_type": Kind("CAUSAL_LM or null", lambda value: value in (None, "CAUSAL_LM")),
    # Without effect on what is computed from A and B.
    "lora_dropout": SHARE,
    **dict.fromkeys(("fan_in_fan_out", "inference_mode", "merge_weights"), FLAG),
    **dict.fromkeys(("base_model_name_or_path", "peft_version", "revision", "megatron_core"), TEXT.or_null()),
    "auto_mapping": OBJECT.or_null(),
    "qalora_group_size": COUNT.or_null(),
}


class Adapted(NamedTuple):
    """The rank of a product's adapter, and the alpha of its scale."""

    rank: int
    alpha: float


def adapted(said: Mapping[str, Any], modules: Iterable[str]) -> dict[str, Adapted] | None:
    """Those of `modules` (`model.layers.0.self_attn.q_proj`) that are adapted; None where PEFT's own choice
    for the architecture is meant.
    """
    if not said.get("target_modules"):
        return None

    def of(pattern: str, module: str, plain: Any) -> Any:
        values = said.get(pattern) or {}
        return next((value for key, value in values.items() if _matches(key, module)), plain)

    return {
        module: Adapted(
            of("rank_pattern", module, said["r"]), of("alpha_pattern", module, said["lora_alpha"])
        )
        for module in modules
        if _is_adapted(said, module)
    }


def faults(said: Mapping[str, Any], modules: Sequence[str]) -> list[str]:
    """What the keys that select say against each other, or of modules that are none of `modules`."""
    found = []
    targets, layers = said.get("target_modules"), said.get("layers_to_transform")
    if isinstance(targets, str) and layers is not None:
        found.append("layers_to_transform is for a list of target_modules, and they are an expression")
    if said.get("layers_pattern") and layers is None:
        found.append("layers_pattern is there without layers_to_transform")
    if targets is None:
        found += [f"{key} is there without target_modules" for key in SELECTING[1:] if said.get(key)]
    if isinstance(targets, list):
        found += [
            f"{shown(target)} is named and has no tensors"
            for target in sorted(targets)
            if not any(_ends_with(module, target) for module in modules)
        ]
    for pattern in ("rank_pattern", "alpha_pattern"):
        found += [
            f"{pattern} names {shown(key)}, which is no product that an adapter may stand beside"
            for key in said.get(pattern) or {}
            if not any(_matches(key, module) for module in modules)
        ]
    return found


def _is_adapted(said: Mapping[str, Any], module: str) -> bool:
    targets, excluded = said["target_modules"], said.get("exclude_modules")
    if excluded and _names(excluded, module):
        return False
    if not (targets == "all-linear" or _names(targets, module)):
        return False
    layers = said.get("layers_to_transform")
    if layers is None or layers == []:
        return True
    patterns = said.get("layers_pattern") or r"[^.]*"
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        found = re.match(rf".*?\.{pattern}\.(\d+)\.", module)
        if found is not None:
            return int(found[found.re.groups]) in (layers if isinstance(layers, list) else [layers])
    return False


def _names(modules: str | list[str], module: str) -> bool:
    if isinstance(modules, str):
        return re.fullmatch(modules, module) is not None
    return any(_ends_with(module, name) for name in modules)


def _ends_with(module: str, name: str) -> bool:
    return f".{module}".endswith(f".{name}")


def _matches(key: str, module: str) -> bool:
    return re.match(rf"(.*\.)?({key})$", module) is not None
