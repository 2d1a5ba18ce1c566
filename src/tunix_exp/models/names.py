"""Every family's weight map, for what reads and writes folders and for what names layers; no JAX."""

from tunix_exp.models.gemma_names import GEMMA2_NAMES, GEMMA3_NAMES, GEMMA_NAMES
from tunix_exp.models.gpt2_names import GPT2_NAMES
from tunix_exp.models.weight_map import WeightMap

MAPS: dict[str, WeightMap] = {
    "gpt2": GPT2_NAMES,
    "gemma": GEMMA_NAMES,
    "gemma2": GEMMA2_NAMES,
    "gemma3": GEMMA3_NAMES,
}
