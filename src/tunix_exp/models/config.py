"""The model group: an architecture, where its weights come from, and its tokenizer; no JAX."""

from typing import Any, Literal

from tunix_exp.references import ReferenceText
from tunix_exp.schema import Config, Layers, Name, Small, Tokens, Width

# A layer that sees all that came before is one whose window no sequence fills (int32's largest number).
UNBOUNDED = 2**31 - 1


class ModelConfig(Config):
    """What every family's config says; a family adds its own keys, and the names it goes by."""

    family: Any  # a Literal in each family: what tells their configs apart
    name: Name
    weights: ReferenceText
    stored_dtype: Literal["float32", "bfloat16", "float16"]  # of the weights; kept where they are frozen
    tokenizer: ReferenceText
    vocab_size: Tokens
    num_positions: Tokens
    width: Width
    mlp_width: Width
    num_layers: Layers
    num_heads: Width
    norm_epsilon: Small
    init_std: Small
    layer_loop: Literal["unroll", "scan"]
    remat: Literal["none", "block", "dots"]
