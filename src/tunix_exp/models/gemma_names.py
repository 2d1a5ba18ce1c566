"""The Gemma models' names on the Hugging Face Hub, tensors and config keys, old and new."""

from collections.abc import Callable, Mapping
from typing import Any

from tunix_exp.models.weight_map import Row, WeightMap

Found = dict[str, Any]


def _turned(kernel: Any) -> Any:
    """`kernel` as [inputs, outputs]; Hugging Face's nn.Linear holds [outputs, inputs]."""
    return kernel.T


_COMMON = (
    Row("embed_tokens.weight", "token_embedding/embedding"),
    Row("layers.{layer}.input_layernorm.weight", "blocks/{layer}/attention_norm/scale"),
    Row("layers.{layer}.self_attn.q_proj.weight", "blocks/{layer}/attention/query/kernel", _turned),
    Row("layers.{layer}.self_attn.k_proj.weight", "blocks/{layer}/attention/key/kernel", _turned),
    Row("layers.{layer}.self_attn.v_proj.weight", "blocks/{layer}/attention/value/kernel", _turned),
    Row("layers.{layer}.self_attn.o_proj.weight", "blocks/{layer}/attention/out/kernel", _turned),
    Row("layers.{layer}.mlp.gate_proj.weight", "blocks/{layer}/mlp/gate/kernel", _turned),
    Row("layers.{layer}.mlp.up_proj.weight", "blocks/{layer}/mlp/up/kernel", _turned),
    Row("layers.{layer}.mlp.down_proj.weight", "blocks/{layer}/mlp/down/kernel", _turned),
    Row("norm.weight", "final_norm/scale"),
)
# The same name means another norm in Gemma 1 than in its successors.
_TWO_NORMS = (Row("layers.{layer}.post_attention_layernorm.weight", "blocks/{layer}/mlp_norm/scale"),)
_FOUR_NORMS = (
    Row("layers.{layer}.post_attention_layernorm.weight", "blocks/{layer}/attention_post_norm/scale"),
    Row("layers.{layer}.pre_feedforward_layernorm.weight", "blocks/{layer}/mlp_norm/scale"),
    Row("layers.{layer}.post_feedforward_layernorm.weight", "blocks/{layer}/mlp_post_norm/scale"),
)
_QUERY_KEY_NORMS = (
    Row("layers.{layer}.self_attn.q_norm.weight", "blocks/{layer}/attention/query_norm/scale"),
    Row("layers.{layer}.self_attn.k_norm.weight", "blocks/{layer}/attention/key_norm/scale"),
)

_DIMENSIONS = (
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
    ("sliding_window_pattern", "global_every"),
    ("sliding_window", "window"),
    ("rope_local_base_freq", "rope_local_base"),
    ("attn_logit_softcapping", "attention_soft_cap"),
    ("final_logit_softcapping", "logit_soft_cap"),
    ("rms_norm_eps", "norm_epsilon"),
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
_DEFAULTS_3 = _DEFAULTS | {
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "sliding_window_pattern": 6,
    "rope_theta": 1_000_000.0,
    "rope_local_base_freq": 10_000.0,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
}
# Of our normal form alone.
_INTERNAL = ("rope_type", "layer_types")
# Gemma 1 has no local layers and no caps, whatever its config.json says of them.
_ABSENT_IN_1 = {
    "sliding_window_pattern": 1,
    "sliding_window": None,
    "rope_local_base_freq": None,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
}


def _gemma(found: Found) -> Found:
    """Gemma 1's config.json with every key; its `hidden_act: gelu` means the tanh form all the same."""
    activation = found.get("hidden_activation") or found.get("hidden_act")
    if activation == "gelu" or activation is None:
        activation = _DEFAULTS["hidden_activation"]
    found = _complete(_DEFAULTS, found)
    theta, kind = _rotation(found.get("rope_parameters") or found.get("rope_scaling"), found["rope_theta"])
    return found | {
        "hidden_activation": activation,
        "query_pre_attn_scalar": found["head_dim"],
        "rope_theta": theta,
        "rope_type": kind,
        **_ABSENT_IN_1,
    }


def _gemma2(found: Found) -> Found:
    """Gemma 2's config.json with every key; its local layers turn as the global ones do."""
    found = _complete(_DEFAULTS_2, found)
    theta, kind = _rotation(found.get("rope_parameters") or found.get("rope_scaling"), found["rope_theta"])
    return found | {
        "rope_theta": theta,
        "rope_local_base_freq": theta,
        "rope_type": kind,
        **_order_of_layers(found),
    }


def _gemma3(found: Found) -> Found:
    """Gemma 3's config.json with every key."""
    found = _complete(_DEFAULTS_3, found)
    kinds = found.get("rope_parameters") or {"full_attention": found.get("rope_scaling")}
    theta, kind = _rotation(kinds.get("full_attention"), found["rope_theta"])
    local_theta, local_kind = _rotation(kinds.get("sliding_attention"), found["rope_local_base_freq"])
    return found | {
        "rope_theta": theta,
        "rope_local_base_freq": local_theta,
        "rope_type": local_kind if kind == "default" else kind,
        **_order_of_layers(found),
    }


def _complete(defaults: Found, found: Found) -> Found:
    """`found` and, where it leaves a key out, its default; by a null flag the default is meant, too."""
    flag = "use_bidirectional_attention"
    return defaults | {key: value for key, value in found.items() if key != flag or value is not None}


def _rotation(said: Mapping[str, Any] | None, theta: float) -> tuple[float, str]:
    """Base and kind of the rotation as `said` in the new form or the old, else `theta` and the default."""
    kind = "default"
    for key in ("type", "rope_type"):
        if said is not None and key in said:
            kind = said[key]
    return (said["rope_theta"] if said is not None and "rope_theta" in said else theta), kind


def _order_of_layers(found: Found) -> Found:
    """How many layers from one global one to the next, by whichever key tells it; and whether that is all."""
    pattern = found["sliding_window_pattern"]
    if found.get("_sliding_window_pattern") is not None:
        pattern = found["_sliding_window_pattern"]
    if found.get("layer_types") is None:
        return {"sliding_window_pattern": pattern, "layer_types": REGULAR}
    is_global = [kind == "full_attention" for kind in found["layer_types"]]
    if any(is_global):
        pattern = is_global.index(True) + 1
    is_regular = is_global == [(layer + 1) % pattern == 0 for layer in range(len(is_global))]
    return {
        "sliding_window_pattern": pattern,
        "layer_types": REGULAR if is_regular else found["layer_types"],
    }


def _spelled_gemma(normal: Found) -> Found:
    """config.json of Gemma 1 as transformers 5 and older ones read it."""
    found = {key: value for key, value in normal.items() if key not in (*_ABSENT_IN_1, *_INTERNAL)}
    del found["query_pre_attn_scalar"]
    return found | {
        "hidden_act": normal["hidden_activation"],
        "rope_parameters": _rotated(normal["rope_theta"]),
    }


def _spelled_gemma2(normal: Found) -> Found:
    """config.json of Gemma 2, likewise."""
    found = {key: value for key, value in normal.items() if key not in ("rope_local_base_freq", *_INTERNAL)}
    return found | _kinds_of_layers(normal) | {"rope_parameters": _rotated(normal["rope_theta"])}


def _spelled_gemma3(normal: Found) -> Found:
    """config.json of Gemma 3 text, likewise."""
    found = {key: value for key, value in normal.items() if key not in _INTERNAL}
    bases = {"full_attention": normal["rope_theta"], "sliding_attention": normal["rope_local_base_freq"]}
    rope = {kind: _rotated(base) for kind, base in bases.items()}
    return found | _kinds_of_layers(normal) | {"rope_parameters": rope}


def _rotated(base: float) -> Found:
    return {"rope_type": "default", "rope_theta": base}


def _kinds_of_layers(normal: Found) -> Found:
    every, number = normal["sliding_window_pattern"], normal["num_hidden_layers"]
    kinds = ["sliding_attention" if (layer + 1) % every else "full_attention" for layer in range(number)]
    return {"layer_types": kinds, "query_pre_attn_scalar": _whole(normal["query_pre_attn_scalar"])}


def _whole(number: float) -> float:
    """The same number, an int where it is one: transformers wants the scale of queries so."""
    return int(number) if number == int(number) else number


def _names(
    model_type: str,
    rows: tuple[Row, ...],
    normalise: Callable[[Found], Found],
    spelled: Callable[[Found], Found],
    architecture: str,
) -> WeightMap:
    return WeightMap(
        rows=_COMMON + rows,
        prefix="model.",
        # The rotation's frequencies, which early versions of transformers saved as buffers.
        not_parameters=("layers.{layer}.self_attn.rotary_emb.inv_freq",),
        tied=("lm_head.weight", "embed_tokens.weight"),
        dimensions=_DIMENSIONS,
        fixed={
            "model_type": model_type,
            "hidden_activation": "gelu_pytorch_tanh",
            "tie_word_embeddings": True,
            "attention_bias": False,
            "use_bidirectional_attention": False,
            "rope_type": "default",
            "layer_types": REGULAR,
        },
        optional=frozenset({"layer_types"}),
        normalise=normalise,
        spelled=spelled,
        architecture=architecture,
    )


GEMMA_NAMES = _names("gemma", _TWO_NORMS, _gemma, _spelled_gemma, "GemmaForCausalLM")
GEMMA2_NAMES = _names("gemma2", _FOUR_NORMS, _gemma2, _spelled_gemma2, "Gemma2ForCausalLM")
GEMMA3_NAMES = _names(
    "gemma3_text", _FOUR_NORMS + _QUERY_KEY_NORMS, _gemma3, _spelled_gemma3, "Gemma3ForCausalLM"
)
