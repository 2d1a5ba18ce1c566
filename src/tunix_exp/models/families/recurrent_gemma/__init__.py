"""RecurrentGemma: what the registry is given of it."""

from tunix_exp.models.families.family import Family
from tunix_exp.models.families.recurrent_gemma.config import RecurrentGemmaConfig
from tunix_exp.models.families.recurrent_gemma.names import RECURRENT_GEMMA_NAMES
from tunix_exp.models.families.recurrent_gemma.plan import cache_bytes, dimensions

FAMILY = Family(
    package=__name__,
    config=RecurrentGemmaConfig,
    weight_maps={"recurrent_gemma": RECURRENT_GEMMA_NAMES},
    dimensions=dimensions,
    cache_bytes=cache_bytes,
)
