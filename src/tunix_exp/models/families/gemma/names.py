"""The Gemma models' tensors by their names on the Hugging Face Hub."""

from collections.abc import Callable, Mapping
from typing import Any

from tunix_exp.models.families.gemma.config_json import (
    DIMENSIONS,
    KINDS_1,
    KINDS_2,
    KINDS_3,
    PLAIN,
    REGULAR,
    Found,
    normal_1,
    normal_2,
    normal_3,
    written_1,
    written_2,
    written_3,
)
from tunix_exp.models.weight_map import Kind, Row, WeightMap


def _transposed(kernel: Any) -> Any:
    """`kernel` as [inputs, outputs]; Hugging Face's nn.Linear holds [outputs, inputs]."""
    return kernel.T


_COMMON = (
    Row("embed_tokens.weight", "token_embedding/embedding"),
    Row("layers.{layer}.input_layernorm.weight", "blocks/{layer}/attention_norm/scale"),
    Row("layers.{layer}.self_attn.q_proj.weight", "blocks/{layer}/attention/query/kernel", _transposed),
    Row("layers.{layer}.self_attn.k_proj.weight", "blocks/{layer}/attention/key/kernel", _transposed),
    Row("layers.{layer}.self_attn.v_proj.weight", "blocks/{layer}/attention/value/kernel", _transposed),
    Row("layers.{layer}.self_attn.o_proj.weight", "blocks/{layer}/attention/out/kernel", _transposed),
    Row("layers.{layer}.mlp.gate_proj.weight", "blocks/{layer}/mlp/gate/kernel", _transposed),
    Row("layers.{layer}.mlp.up_proj.weight", "blocks/{layer}/mlp/up/kernel", _transposed),
    Row("layers.{layer}.mlp.down_proj.weight", "blocks/{layer}/mlp/down/kernel", _transposed),
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


def _names(
    model_type: str,
    rows: tuple[Row, ...],
    kinds: Mapping[str, Kind],
    normalise: Callable[[Found], Found],
    written: Callable[[Found], Found],
    *architectures: str,
    limits: str = "",
    multimodal: tuple[str, ...] = (),
    text_only: str = "",
) -> WeightMap:
    return WeightMap(
        rows=_COMMON + rows,
        prefix="model.",
        # The rotation's frequencies, which early versions of transformers saved as buffers.
        not_parameters=("layers.{layer}.self_attn.rotary_emb.inv_freq",),
        tied=("lm_head.weight", "embed_tokens.weight"),
        dimensions=DIMENSIONS,
        fixed={
            "model_type": model_type,
            "hidden_activation": "gelu_pytorch_tanh",
            "tie_word_embeddings": True,
            "attention_bias": False,
            "use_bidirectional_attention": False,
            "rope_type": PLAIN,
            "layer_types": REGULAR,
        },
        optional=frozenset({"layer_types"}),
        kinds=kinds,
        normalise=normalise,
        written=written,
        architectures=architectures,
        limits=limits,
        multimodal=multimodal,
        text_only=text_only,
    )


GEMMA_NAMES = _names(
    "gemma",
    _TWO_NORMS,
    KINDS_1,
    normal_1,
    written_1,
    "GemmaForCausalLM",
    "GemmaModel",
    limits="query_pre_attn_scalar is the head width, no window and no soft-cap",
)
GEMMA2_NAMES = _names(
    "gemma2",
    _FOUR_NORMS,
    KINDS_2,
    normal_2,
    written_2,
    "Gemma2ForCausalLM",
    "Gemma2Model",
    limits="one rope base",
)
GEMMA3_NAMES = _names(
    "gemma3_text",
    _FOUR_NORMS + _QUERY_KEY_NORMS,
    KINDS_3,
    normal_3,
    written_3,
    "Gemma3ForCausalLM",
    "Gemma3TextModel",
    multimodal=("gemma3", "gemma3n", "paligemma"),
    text_only="of Gemma 3 these are the sizes 270m and 1b",
)
