"""GPT-2's names on the Hugging Face Hub."""

from typing import Any

from tunix_exp.models.bookkeeping import BOOKKEEPING
from tunix_exp.models.decoder_names import HEAD
from tunix_exp.models.weight_map import ANYTHING, COUNT, FLAG, NUMBER, SHARE, TEXT, Row, WeightMap


def _completed(found: dict[str, Any]) -> dict[str, Any]:
    """`found` with what transformers takes where it says nothing: an MLP of 4 x n_embd, and tied tables."""
    found = {"tie_word_embeddings": True} | found
    if found.get("n_inner") is None and "n_embd" in found:
        return found | {"n_inner": 4 * found["n_embd"]}
    return found


def _without_dropout(normal: dict[str, Any]) -> dict[str, Any]:
    """`normal` with dropout off, as this family is computed; left out, transformers would take a tenth."""
    return normal | dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0)


_KINDS = BOOKKEEPING | {
    "vocab_size": COUNT,
    "n_positions": COUNT,
    "n_embd": COUNT,
    "n_inner": COUNT.or_null(),
    "n_layer": COUNT,
    "n_head": COUNT,
    "layer_norm_epsilon": NUMBER,
    "activation_function": TEXT,
    "scale_attn_weights": FLAG,
    "scale_attn_by_inverse_layer_idx": FLAG,
    "reorder_and_upcast_attn": FLAG,
    # Without effect: the length of the masks that early versions saved, and dropout, which is not computed.
    "n_ctx": COUNT,
    "attn_pdrop": SHARE,
    "embd_pdrop": SHARE,
    "resid_pdrop": SHARE,
    # Of a head for classes that is not there.
    **dict.fromkeys(
        (
            "summary_activation",
            "summary_first_dropout",
            "summary_hidden_size",
            "summary_proj_to_labels",
            "summary_type",
            "summary_use_proj",
        ),
        ANYTHING,
    ),
}

GPT2_NAMES = WeightMap(
    rows=(
        HEAD,
        Row("wte.weight", "token_embedding/embedding"),
        Row("wpe.weight", "position_embedding/embedding"),
        Row("h.{layer}.ln_1.weight", "blocks/{layer}/attention_norm/scale"),
        Row("h.{layer}.ln_1.bias", "blocks/{layer}/attention_norm/bias"),
        Row("h.{layer}.attn.c_attn.weight", "blocks/{layer}/attention/qkv/kernel"),
        Row("h.{layer}.attn.c_attn.bias", "blocks/{layer}/attention/qkv/bias"),
        Row("h.{layer}.attn.c_proj.weight", "blocks/{layer}/attention/out/kernel"),
        Row("h.{layer}.attn.c_proj.bias", "blocks/{layer}/attention/out/bias"),
        Row("h.{layer}.ln_2.weight", "blocks/{layer}/mlp_norm/scale"),
        Row("h.{layer}.ln_2.bias", "blocks/{layer}/mlp_norm/bias"),
        Row("h.{layer}.mlp.c_fc.weight", "blocks/{layer}/mlp/up/kernel"),
        Row("h.{layer}.mlp.c_fc.bias", "blocks/{layer}/mlp/up/bias"),
        Row("h.{layer}.mlp.c_proj.weight", "blocks/{layer}/mlp/down/kernel"),
        Row("h.{layer}.mlp.c_proj.bias", "blocks/{layer}/mlp/down/bias"),
        Row("ln_f.weight", "final_norm/scale"),
        Row("ln_f.bias", "final_norm/bias"),
    ),
    prefix="transformer.",
    # The causal mask and its fill value, which early versions of transformers saved as buffers.
    not_parameters=("h.{layer}.attn.bias", "h.{layer}.attn.masked_bias"),
    tied=(HEAD.name, "wte.weight"),
    dimensions=(
        ("vocab_size", "vocab_size"),
        ("n_positions", "num_positions"),
        ("n_embd", "width"),
        ("n_inner", "mlp_width"),
        ("n_layer", "num_layers"),
        ("n_head", "num_heads"),
        ("layer_norm_epsilon", "norm_epsilon"),
        ("tie_word_embeddings", "tied_embeddings"),
    ),
    fixed={
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
        "add_cross_attention": False,
    },
    optional=frozenset(
        {
            "scale_attn_weights",
            "scale_attn_by_inverse_layer_idx",
            "reorder_and_upcast_attn",
            "add_cross_attention",
        }
    ),
    kinds=_KINDS,
    normalise=_completed,
    written=_without_dropout,
    architectures=("GPT2LMHeadModel", "GPT2Model"),
)
