"""GPT-2: what the registry is given of it."""

from tunix_exp.models.families.family import Family
from tunix_exp.models.families.gpt2.config import GPT2Config
from tunix_exp.models.families.gpt2.names import GPT2_NAMES
from tunix_exp.models.families.gpt2.plan import cache_bytes, dimensions

FAMILY = Family(
    package=__name__,
    config=GPT2Config,
    weight_maps={"gpt2": GPT2_NAMES},
    dimensions=dimensions,
    cache_bytes=cache_bytes,
)
