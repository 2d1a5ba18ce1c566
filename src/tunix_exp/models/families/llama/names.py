"""The tensors of Llama and its relatives by their names on the Hugging Face Hub."""

from collections.abc import Mapping
from typing import Any

from tunix_exp.models.decoder_names import DECODER, NOT_PARAMETERS, PREFIX, QUERY_KEY_NORMS, TIED, TWO_NORMS
from tunix_exp.models.families.llama.config_json import (
    DIMENSIONS,
    FIXED,
    KINDS,
    NO_BIASES,
    SLIDING,
    SMOLLM2_NOTES,
    UNROTATED,
    normaliser,
    writer,
)
from tunix_exp.models.weight_map import COUNT, FLAG, Kind, Row, WeightMap

_BIASES = tuple(
    Row(f"layers.{{layer}}.self_attn.{name}_proj.bias", f"blocks/{{layer}}/attention/{path}/bias")
    for name, path in {"q": "query", "k": "key", "v": "value"}.items()
)
_ROTATED = "all layers are rotated"


def _names(
    family: str,
    causal: str,
    *,
    rows: tuple[Row, ...] = (),
    kinds: dict[str, Kind],
    defaults: Mapping[str, Any],
    limits: str = "",
) -> WeightMap:
    """The map of the family whose classes begin with `causal`; `defaults` is what a key left out means."""
    known = {"rope_type", *KINDS, *kinds}
    return WeightMap(
        rows=DECODER + TWO_NORMS + rows,
        prefix=PREFIX,
        not_parameters=NOT_PARAMETERS,
        tied=TIED,
        dimensions=DIMENSIONS,
        fixed={"model_type": family} | {key: only for key, only in FIXED.items() if key in known},
        optional=frozenset(),
        kinds=KINDS | kinds,
        normalise=normaliser(defaults),
        written=writer(family),
        architectures=(f"{causal}ForCausalLM", f"{causal}Model"),
        limits=limits,
    )


LLAMA_NAMES = _names(
    "llama",
    "Llama",
    kinds=NO_BIASES | SMOLLM2_NOTES,
    defaults={"tie_word_embeddings": False, "rope_theta": 10_000.0},
    limits=_ROTATED,
)
QWEN2_NAMES = _names(
    "qwen2",
    "Qwen2",
    rows=_BIASES,
    kinds=SLIDING | {"use_mrope": FLAG.or_null()},
    defaults={"tie_word_embeddings": False, "rope_theta": 10_000.0},
    limits=_ROTATED,
)
QWEN3_NAMES = _names(
    "qwen3",
    "Qwen3",
    rows=QUERY_KEY_NORMS,
    kinds=SLIDING | {"attention_bias": FLAG},
    defaults={"tie_word_embeddings": False, "rope_theta": 10_000.0, "head_dim": 128},
    limits=_ROTATED,
)
SMOLLM3_NAMES = _names(
    "smollm3",
    "SmolLM3",
    kinds=NO_BIASES | SLIDING | UNROTATED | {"pretraining_tp": COUNT},
    defaults={"tie_word_embeddings": True, "rope_theta": 2_000_000.0, "no_rope_layer_interval": 4},
)
