"""The model group: an architecture, where its weights come from, and its tokenizer; no JAX."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from tunix_exp.references import ReferenceText
from tunix_exp.schema import MOST_WIDTH, Config, Layers, Name, Scale, Small, Tokens, Width, contradiction

# A layer that sees all that came before is one whose window no sequence fills (int32's largest number).
UNBOUNDED = 2**31 - 1


class ModelConfig(Config):
    """What every family's config says; a family adds its own keys, and the names it goes by."""

    family: Any  # a Literal in each family: what tells their configs apart
    name: Name
    weights: ReferenceText
    stored_dtype: Literal["float32", "bfloat16", "float16"]  # of the weights; kept where they are frozen
    quantize: Literal["int8", "nf4"] | None  # the products, where they are frozen
    tokenizer: ReferenceText
    vocab_size: Tokens
    num_positions: Tokens
    width: Width
    mlp_width: Width
    num_layers: Layers
    num_heads: Width
    tied_embeddings: bool  # the table that gives the logits is that of the tokens
    norm_epsilon: Small
    init_std: Small
    layer_loop: Literal["unroll", "scan"]
    remat: Literal["none", "block", "dots", "auto"]  # computed again in the backward pass; auto: by the plan


class GroupedConfig(ModelConfig):
    """What families also say whose heads share keys and values, and whose positions are rotary."""

    num_key_heads: Width
    head_width: Annotated[int, Field(ge=2, le=MOST_WIDTH, multiple_of=2)]  # rotary positions rotate pairs
    rope_base: Scale

    @field_validator("num_key_heads", mode="after")
    @classmethod
    def _key_heads_divide_the_heads(cls, value: int, info: ValidationInfo) -> int:
        if "num_heads" in info.data and info.data["num_heads"] % value:
            both = {"num_key_heads": value, "num_heads": info.data["num_heads"]}
            raise ValueError(
                contradiction(both, "each key head serves as many heads; make num_heads a multiple of them")
            )
        return value
