"""What the memory plan and the choice of an attention kernel need to know of Llama and its relatives."""

from tunix_exp.models.families.family import Dimensions
from tunix_exp.models.families.llama.config import LlamaConfig


def dimensions(config: LlamaConfig) -> Dimensions:
    """The sizes of a block."""
    rotated = (config.num_heads + config.num_key_heads) * config.head_width
    return Dimensions(
        heads=config.num_heads,
        head_width=config.head_width,
        projected=rotated + config.num_key_heads * config.head_width,
        hidden_products=2,
        late_norms=2 * rotated * config.has_query_key_norms,
        attention_soft_cap=None,
    )


def cache_bytes(config: LlamaConfig, slots: int, number_bytes: int) -> int:
    """The cache of a row: keys and values of every slot, in every layer."""
    return 2 * config.num_layers * config.num_key_heads * config.head_width * slots * number_bytes
