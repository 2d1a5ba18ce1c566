"""RecurrentGemma's names on the Hugging Face Hub."""

from typing import Any

from tunix_exp.models.bookkeeping import BOOKKEEPING
from tunix_exp.models.decoder_names import HEAD, PREFIX, TIED
from tunix_exp.models.rotation_json import PLAIN, ROTATION, rotation, written
from tunix_exp.models.weight_map import (
    ANYTHING,
    COUNT,
    FLAG,
    NUMBER,
    SHARE,
    TEXT,
    TEXTS,
    Row,
    WeightMap,
    transposed,
)

Found = dict[str, Any]

_LAYER, _BLOCK = "layers.{layer}.", "blocks/{layer}/"
_TEMPORAL = f"{_LAYER}temporal_block."


def _with_bias(name: str, path: str) -> tuple[Row, Row]:
    return (
        Row(f"{_LAYER}{name}.weight", f"{_BLOCK}{path}/kernel", transposed),
        Row(f"{_LAYER}{name}.bias", f"{_BLOCK}{path}/bias"),
    )


_ATTENTION = (
    *(
        Row(f"{_TEMPORAL}{name}_proj.weight", f"{_BLOCK}attention/{path}/kernel", transposed)
        for name, path in {"q": "query", "k": "key", "v": "value"}.items()
    ),
    *_with_bias("temporal_block.o_proj", "attention/out"),
)
_RECURRENCE = (
    *_with_bias("temporal_block.linear_x", "recurrence/input"),
    *_with_bias("temporal_block.linear_y", "recurrence/gate"),
    *_with_bias("temporal_block.linear_out", "recurrence/out"),
    Row(f"{_TEMPORAL}conv_1d.weight", f"{_BLOCK}recurrence/convolution/taps", transposed),
    Row(f"{_TEMPORAL}conv_1d.bias", f"{_BLOCK}recurrence/convolution/bias"),
    Row(f"{_TEMPORAL}rg_lru.recurrent_param", f"{_BLOCK}recurrence/unit/decay"),
    *(
        Row(f"{_TEMPORAL}rg_lru.{name}_gate_{part}", f"{_BLOCK}recurrence/unit/{path}_{part}")
        for name, path in {"input": "input", "recurrent": "decay"}.items()
        for part in ("weight", "bias")
    ),
)
_HIDDEN, _PERIOD = "intermediate_size / 2", "block_types"
_HALF = 0.5  # of a head's channels rotated, where config.json does not say
_FIXED = {
    "model_type": "recurrent_gemma",
    "hidden_activation": "gelu_pytorch_tanh",
    "attention_bias": False,
    "embeddings_scale_by_sqrt_dim": True,
    "rope_type": PLAIN,
}
_DEFAULTS = {
    "hidden_activation": "gelu_pytorch_tanh",
    "attention_bias": False,
    "embeddings_scale_by_sqrt_dim": True,
    "tie_word_embeddings": True,
    "attention_window_size": 2048,
    "conv1d_width": 4,
    "logits_soft_cap": 30.0,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    _PERIOD: ["recurrent", "recurrent", "attention"],
}


def _normal(found: Found) -> Found:
    """config.json with every key; heads share the width, and of the MLP half of what is written is used."""
    found = _DEFAULTS | {key: value for key, value in found.items() if value is not None}
    found[_PERIOD] = tuple(found.get("_block_types", found[_PERIOD]))
    if "hidden_size" in found:
        found.setdefault("lru_width", found["hidden_size"])
    if "num_attention_heads" in found:
        found.setdefault("num_key_value_heads", found["num_attention_heads"])
        if "hidden_size" in found:
            found["head_dim"] = found["hidden_size"] // found["num_attention_heads"]
    if "intermediate_size" in found:
        found[_HIDDEN] = found["intermediate_size"] // 2
    said = rotation(found.get("rope_scaling") or found.get("rope_parameters"), found["rope_theta"])
    share = said.more.get("partial_rotary_factor", found.get("partial_rotary_factor", _HALF))
    is_plain = said.kind == PLAIN and said.more.keys() <= {"partial_rotary_factor"}
    return found | {
        "rope_theta": said.base,
        "partial_rotary_factor": share,
        "rope_type": PLAIN if is_plain else said.told,
    }


def _written(normal: Found) -> Found:
    """The normal form as transformers 5 and older ones read it."""
    found = {key: value for key, value in normal.items() if key not in (_HIDDEN, "rope_type")}
    share = normal["partial_rotary_factor"]
    return found | {
        _PERIOD: list(normal[_PERIOD]),
        "intermediate_size": 2 * normal[_HIDDEN],
        "rope_parameters": written(normal["rope_theta"]) | {"partial_rotary_factor": share},
    }


_KINDS = BOOKKEEPING | {
    **dict.fromkeys(
        (
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "head_dim",
            "attention_window_size",
            "conv1d_width",
        ),
        COUNT,
    ),
    **dict.fromkeys(("num_key_value_heads", "lru_width"), COUNT.or_null()),
    **dict.fromkeys(("rms_norm_eps", "rope_theta", "logits_soft_cap"), NUMBER),
    **dict.fromkeys(("rope_scaling", "rope_parameters"), ROTATION),
    **dict.fromkeys((_PERIOD, "_block_types"), TEXTS.or_null()),
    "partial_rotary_factor": SHARE,
    "hidden_activation": TEXT,
    "attention_bias": FLAG,
    "embeddings_scale_by_sqrt_dim": FLAG,
    # Without effect: dropout, which is not computed, how weights begin, and a leftover of the conversion.
    "attention_dropout": SHARE.or_null(),
    **dict.fromkeys(
        ("w_init_variance_scale", "final_w_init_variance_scale", "rotary_emb_base"),
        ANYTHING,
    ),
}

RECURRENT_GEMMA_NAMES = WeightMap(
    rows=(
        HEAD,
        Row("embed_tokens.weight", "token_embedding/embedding"),
        Row(f"{_LAYER}temporal_pre_norm.weight", f"{_BLOCK}temporal_norm/scale"),
        *_RECURRENCE,
        *_ATTENTION,
        Row(f"{_LAYER}channel_pre_norm.weight", f"{_BLOCK}mlp_norm/scale"),
        *(
            row
            for name in ("gate", "up", "down")
            for row in _with_bias(f"mlp_block.{name}_proj", f"mlp/{name}")
        ),
        Row("final_norm.weight", "final_norm/scale"),
    ),
    prefix=PREFIX,
    not_parameters=(f"{_TEMPORAL}rotary_emb.inv_freq",),
    tied=TIED,
    dimensions=(
        ("vocab_size", "vocab_size"),
        ("hidden_size", "width"),
        (_HIDDEN, "mlp_width"),
        ("num_hidden_layers", "num_layers"),
        ("num_attention_heads", "num_heads"),
        ("num_key_value_heads", "num_key_heads"),
        ("head_dim", "head_width"),
        ("lru_width", "recurrence_width"),
        ("conv1d_width", "convolution_taps"),
        ("attention_window_size", "window"),
        (_PERIOD, "block_types"),
        ("rope_theta", "rope_base"),
        ("partial_rotary_factor", "rotated_share"),
        ("logits_soft_cap", "logit_soft_cap"),
        ("rms_norm_eps", "norm_epsilon"),
        ("tie_word_embeddings", "tied_embeddings"),
    ),
    fixed=_FIXED,
    optional=frozenset(),
    kinds=_KINDS,
    normalise=_normal,
    written=_written,
    architectures=("RecurrentGemmaForCausalLM", "RecurrentGemmaModel"),
    limits="the heads share the width",
    unsaid={"num_positions": 8192},
)
