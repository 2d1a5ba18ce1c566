"""What config.json says of Llama and its relatives, in every form that transformers has written it."""

from collections.abc import Callable, Mapping
from typing import Any

from tunix_exp.models.bookkeeping import BOOKKEEPING
from tunix_exp.models.rotation_json import PLAIN, ROTATION, Rotation, rotation, written
from tunix_exp.models.weight_map import ANYTHING, COUNT, FLAG, NUMBER, SHARE, TEXT, TEXTS, Kind

Found = dict[str, Any]

_SCALING = {
    "factor": ("rope_factor", NUMBER),
    "low_freq_factor": ("rope_low_freq_factor", NUMBER),
    "high_freq_factor": ("rope_high_freq_factor", NUMBER),
    "original_max_position_embeddings": ("rope_original_positions", COUNT),
}
DIMENSIONS = (
    ("vocab_size", "vocab_size"),
    ("max_position_embeddings", "num_positions"),
    ("hidden_size", "width"),
    ("intermediate_size", "mlp_width"),
    ("num_hidden_layers", "num_layers"),
    ("num_attention_heads", "num_heads"),
    ("num_key_value_heads", "num_key_heads"),
    ("head_dim", "head_width"),
    ("rope_theta", "rope_base"),
    *((theirs, ours) for theirs, (ours, _) in _SCALING.items()),
    ("no_rope_layer_interval", "unrotated_every"),
    ("rms_norm_eps", "norm_epsilon"),
    ("tie_word_embeddings", "tied_embeddings"),
)
_SCALED = "llama3"
_ROTATIONS = f"{PLAIN} or {_SCALED}"
_FULL = "full_attention"
_REGULAR = "every n-th layer 0, all others 1"
# The only value that is computed of the keys that a family has; the last three are of our normal form.
FIXED = {
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "rope_interleaved": False,
    "use_mrope": False,
    "use_sliding_window": False,
    "layer_types": f"{_FULL} in every layer",
    "no_rope_layers": _REGULAR,
    "rope_type": _ROTATIONS,
}

KINDS = BOOKKEEPING | {
    **dict.fromkeys(
        (
            "vocab_size",
            "max_position_embeddings",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
        ),
        COUNT,
    ),
    "num_key_value_heads": COUNT.or_null(),
    "head_dim": COUNT.or_null(),
    "rms_norm_eps": NUMBER,
    "rope_theta": NUMBER,
    "rope_scaling": ROTATION,
    "rope_parameters": ROTATION,
    "hidden_act": TEXT,
    "attention_dropout": SHARE.or_null(),  # not computed
}
NO_BIASES = {"attention_bias": FLAG, "mlp_bias": FLAG}
SLIDING = {
    "use_sliding_window": FLAG,
    # Without effect while the flag is off.
    "sliding_window": COUNT.or_null(),
    "max_window_layers": Kind("a whole number", lambda value: type(value) is int),
    "layer_types": TEXTS.or_null(),
}
_BITS = Kind(
    "a list of 0 and 1",
    lambda value: isinstance(value, list) and all(type(bit) is int and bit in (0, 1) for bit in value),
)
UNROTATED = {"no_rope_layers": _BITS.or_null(), "no_rope_layer_interval": COUNT}
# What SmolLM2's conversion left behind.
SMOLLM2_NOTES = {
    "pretraining_tp": COUNT,
    "rope_interleaved": FLAG,
    **dict.fromkeys(("is_llama_config", "transformers.js_config"), ANYTHING),
}


def normaliser(defaults: Mapping[str, Any]) -> Callable[[Found], Found]:
    """A function that gives config.json every key, those that are left out as `defaults` have it."""
    given = {key: FIXED[key] for key in FIXED if isinstance(FIXED[key], bool)}
    given |= {"hidden_act": "silu", "rms_norm_eps": 1e-6} | dict(defaults)

    def normal(found: Found) -> Found:
        found = given | {key: value for key, value in found.items() if value is not None}
        if "num_attention_heads" in found:
            found.setdefault("num_key_value_heads", found["num_attention_heads"])
            if "hidden_size" in found:
                found.setdefault("head_dim", found["hidden_size"] // found["num_attention_heads"])
        said = rotation(found.get("rope_scaling") or found.get("rope_parameters"), found["rope_theta"])
        return found | _scaling(said) | _layers(found)

    return normal


def _scaling(said: Rotation) -> Found:
    """The rotation's base and four numbers (null where it is not scaled), and whether that is all of it."""
    numbers = dict.fromkeys(_SCALING)
    is_scaled = said.kind == _SCALED and said.more.keys() == _SCALING.keys()
    if is_scaled and all(kind.holds(said.more[key]) for key, (_, kind) in _SCALING.items()):
        return numbers | dict(said.more) | {"rope_theta": said.base, "rope_type": _ROTATIONS}
    return numbers | {"rope_theta": said.base, "rope_type": _ROTATIONS if said.told == PLAIN else said.told}


def _layers(found: Found) -> Found:
    """How many layers from one without rotation to the next, and whether that is all that differs."""
    number = found.get("num_hidden_layers", 0)
    every = found.get("no_rope_layer_interval")
    bits = found.get("no_rope_layers", _bits(every, number))[:number]
    if bits != _bits(every, number):
        every = bits.index(0) + 1 if 0 in bits else None
    every = every if 0 in bits else None
    kinds = found.get("layer_types", [_FULL] * number)
    return {
        "no_rope_layer_interval": every,
        "no_rope_layers": _REGULAR if bits == _bits(every, number) else bits,
        "layer_types": FIXED["layer_types"] if kinds == [_FULL] * number else kinds,
    }


def _bits(every: int | None, number: int) -> list[int]:
    """1 for each of `number` layers that is rotated, 0 for every n-th, which is not."""
    return [int(every is None or (layer + 1) % every != 0) for layer in range(number)]


def writer(family: str) -> Callable[[Found], Found]:
    """A function that gives the normal form as transformers 5 and older ones read it."""

    def write(normal: Found) -> Found:
        internal = (*_SCALING, "no_rope_layer_interval", "no_rope_layers", "layer_types", "rope_type")
        found = {key: value for key, value in normal.items() if key not in internal}
        numbers = {key: normal[key] for key in _SCALING}
        is_scaled = normal["factor"] is not None
        scaling = {"rope_type": _SCALED, **numbers} if is_scaled else None
        rope = written(normal["rope_theta"]) | (scaling or {})
        found |= {"rope_parameters": rope, "rope_scaling": scaling}
        if family == "smollm3":
            every, number = normal["no_rope_layer_interval"], normal["num_hidden_layers"]
            found |= {"no_rope_layers": _bits(every, number), "no_rope_layer_interval": every or number + 1}
        return found

    return write
