"""What the memory plan and the choice of an attention kernel need to know of RecurrentGemma."""

from tunix_exp.models.families.family import Dimensions
from tunix_exp.models.families.recurrent_gemma.config import RecurrentGemmaConfig

# Of a recurrence's channel: its two gates, decay, root, input and state, and two of the scan.
_AT_WORK = 8


def dimensions(config: RecurrentGemmaConfig) -> Dimensions:
    """The sizes of a block."""
    attending = config.kinds.count("attention") / config.num_layers
    attention = (config.num_heads + 2 * config.num_key_heads) * config.head_width
    return Dimensions(
        heads=config.num_heads,
        head_width=config.head_width,
        projected=round(attending * attention + (1 - attending) * 2 * config.recurrence_width),
        hidden_products=2,
        late_norms=0,
        attention_soft_cap=None,
        kinds=len(config.block_types),
        attending=attending,
        recurrence=0 if attending == 1 else _AT_WORK * config.recurrence_width,
    )


def cache_bytes(config: RecurrentGemmaConfig, slots: int, number_bytes: int) -> int:
    """The cache of a row: keys and values of a window, and of each recurrent layer its float32 state and the
    last inputs of its convolution.
    """
    attention = 2 * config.num_key_heads * config.head_width * min(config.window, slots) * number_bytes
    recurrence = config.recurrence_width * (4 + (config.convolution_taps - 1) * number_bytes)
    return sum(attention if kind == "attention" else recurrence for kind in config.kinds)
