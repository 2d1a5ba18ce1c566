"""What config.json says of the Gemma models, in every form that transformers has written it."""

from typing import Any

from tunix_exp.models.bookkeeping import BOOKKEEPING
from tunix_exp.models.rotation_json import PLAIN, ROTATION, is_rotation, rotation, written
from tunix_exp.models.weight_map import ANYTHING, COUNT, FLAG, NUMBER, OBJECT, SHARE, TEXT, TEXTS, Kind

Found = dict[str, Any]

DIMENSIONS = (
    ("vocab_size", "vocab_size"),
    ("max_position_embeddings", "num_positions"),
    ("hidden_size", "width"),
    ("intermediate_size", "mlp_width"),
    ("num_hidden_layers", "num_layers"),
    ("num_attention_heads", "num_heads"),
    ("num_key_value_heads", "num_key_heads"),
    ("head_dim", "head_width"),
    ("query_pre_attn_scalar", "query_pre_attn_scalar"),
    ("rope_theta", "rope_base"),
    ("factor", "rope_global_factor"),
    ("sliding_window_pattern", "global_every"),
    ("sliding_window", "window"),
    ("rope_local_base_freq", "rope_local_base"),
    ("attn_logit_softcapping", "attention_soft_cap"),
    ("final_logit_softcapping", "logit_soft_cap"),
    ("rms_norm_eps", "norm_epsilon"),
    ("tie_word_embeddings", "tied_embeddings"),
)

REGULAR = "every n-th layer global"

# What transformers takes where config.json leaves a key out.
_DEFAULTS = {
    "head_dim": 256,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "hidden_activation": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
    "attention_bias": False,
    "use_bidirectional_attention": False,
}
_DEFAULTS_2 = _DEFAULTS | {
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "sliding_window_pattern": 2,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
}
# The text_config of a larger Gemma 3 leaves sizes out too.
_DEFAULTS_3 = _DEFAULTS | {
    "vocab_size": 262_208,
    "max_position_embeddings": 131_072,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "sliding_window_pattern": 6,
    "rope_theta": 1_000_000.0,
    "rope_local_base_freq": 10_000.0,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
}
# Of our normal form alone.
_INTERNAL = ("rope_type", "layer_types", "factor")
_LINEAR = "linear"
# Gemma 1 has no local layers and no caps: its config.json may not speak of them.
_ABSENT_IN_1 = {
    "factor": None,
    "sliding_window_pattern": 1,
    "sliding_window": None,
    "rope_local_base_freq": None,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
}
_LOCAL, _GLOBAL = "sliding_attention", "full_attention"


def _are_rotations(value: Any) -> bool:
    return isinstance(value, dict) and all(
        key in (_LOCAL, _GLOBAL) and (part is None or is_rotation(part)) for key, part in value.items()
    )


_ROTATIONS = Kind(f"an object of such for {_LOCAL} and {_GLOBAL}", _are_rotations).or_null()

KINDS_1 = BOOKKEEPING | {
    **dict.fromkeys(
        (
            "vocab_size",
            "max_position_embeddings",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "head_dim",
        ),
        COUNT,
    ),
    "rms_norm_eps": NUMBER,
    "rope_theta": NUMBER,
    "rope_scaling": ROTATION,
    "rope_parameters": ROTATION,
    "hidden_act": TEXT.or_null(),
    "hidden_activation": TEXT.or_null(),
    "attention_bias": FLAG,
    "use_bidirectional_attention": FLAG.or_null(),
    "attention_dropout": SHARE.or_null(),  # not computed
}
KINDS_2 = KINDS_1 | {
    "query_pre_attn_scalar": NUMBER,
    "layer_types": TEXTS.or_null(),
    "sliding_window": COUNT.or_null(),
    "sliding_window_pattern": COUNT.or_null(),
    "attn_logit_softcapping": NUMBER.or_null(),
    "final_logit_softcapping": NUMBER.or_null(),
}
KINDS_3 = KINDS_2 | {
    "_sliding_window_pattern": COUNT.or_null(),
    "rope_local_base_freq": NUMBER,
    "rope_parameters": _ROTATIONS,
}


# Beside the text_config of a checkpoint that takes pictures: the other part, and its tokens.
KINDS_BESIDE_TEXT = BOOKKEEPING | {
    "text_config": OBJECT,
    "vision_config": ANYTHING,
    **dict.fromkeys(
        (
            "mm_tokens_per_image",
            *(f"{name}_token_{end}" for name in ("image", "boi", "eoi") for end in ("index", "id")),
        ),
        ANYTHING,
    ),
}


def normal_1(found: Found) -> Found:
    """Gemma 1's config.json with every key; its `hidden_act: gelu` means the tanh form all the same."""
    tanh = _DEFAULTS["hidden_activation"]
    named = [found.get("hidden_activation"), found.get("hidden_act")]
    others = [activation for activation in named if activation not in (None, "gelu", tanh)]
    found = _complete(_DEFAULTS, found)
    said = rotation(found.get("rope_scaling") or found.get("rope_parameters"), found["rope_theta"])
    return found | {
        "hidden_activation": others[0] if others else tanh,
        "query_pre_attn_scalar": found["head_dim"],
        "rope_theta": said.base,
        "rope_type": said.told,
        **_ABSENT_IN_1,
    }


def normal_2(found: Found) -> Found:
    """Gemma 2's config.json with every key; its local layers rotate as the global ones do."""
    found = _complete(_DEFAULTS_2, found)
    said = rotation(found.get("rope_scaling") or found.get("rope_parameters"), found["rope_theta"])
    return found | {
        "rope_theta": said.base,
        "rope_local_base_freq": said.base,
        "rope_type": said.told,
        "factor": None,
        **_order_of_layers(found),
    }


def normal_3(found: Found) -> Found:
    """Gemma 3's config.json with every key; its rope_scaling is of the global layers."""
    found = _complete(_DEFAULTS_3, found)
    rotations = found.get("rope_parameters") or {}
    of_global = (rotations.get(_GLOBAL) or {}) | (found.get("rope_scaling") or {})
    wide = rotation(of_global, found["rope_theta"])
    local = rotation(rotations.get(_LOCAL), found["rope_local_base_freq"])
    is_slowed = wide.kind == _LINEAR and wide.more.keys() == {"factor"} and NUMBER.holds(wide.more["factor"])
    return found | {
        "rope_theta": wide.base,
        "rope_local_base_freq": local.base,
        "factor": wide.more["factor"] if is_slowed else None,
        "rope_type": local.told if wide.told == PLAIN or is_slowed else wide.told,
        **_order_of_layers(found),
    }


def _complete(defaults: Found, found: Found) -> Found:
    """`found` and, where it leaves a key out, its default, which a null means too where it means nothing."""
    empty = ("use_bidirectional_attention", "sliding_window_pattern")
    return defaults | {key: value for key, value in found.items() if key not in empty or value is not None}


def _order_of_layers(found: Found) -> Found:
    """How many layers from one global one to the next, by whichever key tells it; and whether that is all."""
    pattern = found["sliding_window_pattern"]
    if found.get("_sliding_window_pattern") is not None:
        pattern = found["_sliding_window_pattern"]
    kinds = found.get("layer_types")
    if kinds is None:
        return {"sliding_window_pattern": pattern, "layer_types": REGULAR}
    if _GLOBAL in kinds:
        pattern = kinds.index(_GLOBAL) + 1
    is_whole = len(kinds) == found.get("num_hidden_layers")
    is_regular = is_whole and kinds == _kinds_of_layers(pattern, len(kinds))
    return {"sliding_window_pattern": pattern, "layer_types": REGULAR if is_regular else kinds}


def written_1(normal: Found) -> Found:
    """config.json of Gemma 1 as transformers 5 and older ones read it."""
    found = {key: value for key, value in normal.items() if key not in (*_ABSENT_IN_1, *_INTERNAL)}
    del found["query_pre_attn_scalar"]
    return found | {
        "hidden_act": normal["hidden_activation"],
        "rope_parameters": written(normal["rope_theta"]),
    }


def written_2(normal: Found) -> Found:
    """config.json of Gemma 2, likewise."""
    found = {key: value for key, value in normal.items() if key not in ("rope_local_base_freq", *_INTERNAL)}
    return found | _layers_written(normal) | {"rope_parameters": written(normal["rope_theta"])}


def written_3(normal: Found) -> Found:
    """config.json of Gemma 3 text, likewise."""
    found = {key: value for key, value in normal.items() if key not in _INTERNAL}
    bases = {_GLOBAL: normal["rope_theta"], _LOCAL: normal["rope_local_base_freq"]}
    rope = {kind: written(base) for kind, base in bases.items()}
    if normal["factor"] is not None:
        rope[_GLOBAL] |= {"rope_type": _LINEAR, "factor": normal["factor"]}
    return found | _layers_written(normal) | {"rope_parameters": rope}


def _layers_written(normal: Found) -> Found:
    kinds = _kinds_of_layers(normal["sliding_window_pattern"], normal["num_hidden_layers"])
    return {"layer_types": kinds, "query_pre_attn_scalar": _whole(normal["query_pre_attn_scalar"])}


def _kinds_of_layers(every: int, number: int) -> list[str]:
    """The kind of each of `number` layers, every n-th of which is global."""
    return [_LOCAL if (layer + 1) % every else _GLOBAL for layer in range(number)]


def _whole(number: float) -> float:
    """The same number, an int where it is one: transformers wants the scale of queries so."""
    return int(number) if number == int(number) else number
