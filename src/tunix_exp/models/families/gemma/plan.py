"""What the memory plan and the choice of an attention kernel need to know of the Gemmas."""

from tunix_exp.models.families.family import Dimensions
from tunix_exp.models.families.gemma.config import GemmaConfig


def dimensions(config: GemmaConfig) -> Dimensions:
    """The sizes of a block."""
    projected = (config.num_heads + 2 * config.num_key_heads) * config.head_width
    rotated = (config.num_heads + config.num_key_heads) * config.head_width
    return Dimensions(
        heads=config.num_heads,
        head_width=config.head_width,
        projected=projected,
        hidden_products=2,
        late_norms=2 * config.width * config.has_post_norms + 2 * rotated * config.has_query_key_norms,
        attention_soft_cap=config.attention_soft_cap,
    )


def cache_bytes(config: GemmaConfig, slots: int, number_bytes: int) -> int:
    """The cache of a row: keys and values of the slots that each layer keeps."""
    kept = sum(min(window, slots) for window in config.windows)
    return 2 * config.num_key_heads * config.head_width * kept * number_bytes
