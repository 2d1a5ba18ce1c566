"""What the memory plan and the choice of an attention kernel need to know of GPT-2."""

from tunix_exp.models.families.family import Dimensions
from tunix_exp.models.families.gpt2.config import GPT2Config


def dimensions(config: GPT2Config) -> Dimensions:
    """The sizes of a block."""
    return Dimensions(
        heads=config.num_heads,
        head_width=config.head_width,
        projected=3 * config.width,
        hidden_products=1,
        late_norms=0,
        attention_soft_cap=None,
    )


def cache_bytes(config: GPT2Config, slots: int, number_bytes: int) -> int:
    """The cache of a row: keys and values of every slot, in every layer."""
    return 2 * config.num_layers * config.width * slots * number_bytes
