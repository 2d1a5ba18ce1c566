"""The Gemma models' tensors by their names on the Hugging Face Hub."""

from collections.abc import Callable, Mapping

from tunix_exp.models.decoder_names import (
    DECODER,
    FOUR_NORMS,
    NOT_PARAMETERS,
    PREFIX,
    QUERY_KEY_NORMS,
    TIED,
    TWO_NORMS,
)
from tunix_exp.models.families.gemma.config_json import (
    DIMENSIONS,
    KINDS_1,
    KINDS_2,
    KINDS_3,
    KINDS_BESIDE_TEXT,
    REGULAR,
    Found,
    normal_1,
    normal_2,
    normal_3,
    written_1,
    written_2,
    written_3,
)
from tunix_exp.models.rotation_json import PLAIN
from tunix_exp.models.weight_map import Kind, Row, WeightMap, Within


def _names(
    model_type: str,
    rows: tuple[Row, ...],
    kinds: Mapping[str, Kind],
    normalise: Callable[[Found], Found],
    written: Callable[[Found], Found],
    *architectures: str,
    limits: str = "",
    within: Within | None = None,
    multimodal: tuple[str, ...] = (),
) -> WeightMap:
    return WeightMap(
        rows=DECODER + rows,
        prefix=PREFIX,
        not_parameters=NOT_PARAMETERS,
        tied=TIED,
        dimensions=DIMENSIONS,
        fixed={
            "model_type": model_type,
            "hidden_activation": "gelu_pytorch_tanh",
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
        within=within,
        multimodal=multimodal,
    )


GEMMA_NAMES = _names(
    "gemma",
    TWO_NORMS,
    KINDS_1,
    normal_1,
    written_1,
    "GemmaForCausalLM",
    "GemmaModel",
    limits="query_pre_attn_scalar is the head width, no window, no soft-cap and no rope_global_factor",
)
GEMMA2_NAMES = _names(
    "gemma2",
    FOUR_NORMS,
    KINDS_2,
    normal_2,
    written_2,
    "Gemma2ForCausalLM",
    "Gemma2Model",
    limits="one rope base and no rope_global_factor",
)
# As Google published them, and as transformers has saved them since its version 4.52.
_TEXT = ("language_model.model.", "model.language_model.", "language_model.")
_OTHER_PARTS = tuple(
    f"{begun}{part}." for begun in ("", "model.") for part in ("vision_tower", "multi_modal_projector")
)
GEMMA3_NAMES = _names(
    "gemma3_text",
    FOUR_NORMS + QUERY_KEY_NORMS,
    KINDS_3,
    normal_3,
    written_3,
    "Gemma3ForCausalLM",
    "Gemma3TextModel",
    within=Within("gemma3", _TEXT, _OTHER_PARTS, KINDS_BESIDE_TEXT),
    multimodal=("gemma3n", "paligemma"),
)
