"""Gemma 1, 2 and 3 text: what the registry is given of them."""

from tunix_exp.models.families.family import Family
from tunix_exp.models.families.gemma.chat import CHAT
from tunix_exp.models.families.gemma.config import GemmaConfig
from tunix_exp.models.families.gemma.names import GEMMA2_NAMES, GEMMA3_NAMES, GEMMA_NAMES
from tunix_exp.models.families.gemma.plan import cache_bytes, dimensions

FAMILY = Family(
    package=__name__,
    config=GemmaConfig,
    weight_maps={"gemma": GEMMA_NAMES, "gemma2": GEMMA2_NAMES, "gemma3": GEMMA3_NAMES},
    dimensions=dimensions,
    cache_bytes=cache_bytes,
    chat=CHAT,
)
