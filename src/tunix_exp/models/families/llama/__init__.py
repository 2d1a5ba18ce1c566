"""Llama and its relatives Qwen2, Qwen3 and SmolLM3: what the registry is given of them."""

from tunix_exp.models.families.family import Family
from tunix_exp.models.families.llama.config import LlamaConfig
from tunix_exp.models.families.llama.names import LLAMA_NAMES, QWEN2_NAMES, QWEN3_NAMES, SMOLLM3_NAMES
from tunix_exp.models.families.llama.plan import cache_bytes, dimensions

FAMILY = Family(
    package=__name__,
    config=LlamaConfig,
    weight_maps={
        "llama": LLAMA_NAMES,
        "qwen2": QWEN2_NAMES,
        "qwen3": QWEN3_NAMES,
        "smollm3": SMOLLM3_NAMES,
    },
    dimensions=dimensions,
    cache_bytes=cache_bytes,
)
