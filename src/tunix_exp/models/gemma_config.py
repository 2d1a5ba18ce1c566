"""The architecture of the Gemma models, as config.

What the three generations differ in is told by `family`: Gemma 2 and 3 also norm what a block adds to the
stream, Gemma 3 norms queries and keys. All else is a number of its own, spelled in YAML.
"""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, ValidationInfo, field_validator

from tunix_exp.schema import Config


class GemmaConfig(Config):
    """Gemma 1, 2 (Gemma Team 2024) and 3 text (2025): rotary positions, gated MLP, tied embeddings."""

    family: Literal["gemma", "gemma2", "gemma3"]
    name: str
    weights: str
    stored_dtype: Literal["float32", "bfloat16", "float16"]  # of the weights; kept where they are frozen
    tokenizer: str
    vocab_size: PositiveInt
    num_positions: PositiveInt
    width: PositiveInt
    mlp_width: PositiveInt
    num_layers: PositiveInt
    num_heads: PositiveInt
    num_key_heads: PositiveInt
    head_width: Annotated[int, Field(gt=0, multiple_of=2)]  # rotary positions turn pairs
    query_pre_attn_scalar: PositiveFloat  # attention logits are divided by its square root
    rope_base: PositiveFloat  # in global layers
    global_every: PositiveInt  # every n-th layer sees all that came before, the others a window; 1: all do
    window: PositiveInt | None  # tokens that a local layer sees, the token itself among them
    rope_local_base: PositiveFloat | None  # in local layers
    attention_soft_cap: PositiveFloat | None
    logit_soft_cap: PositiveFloat | None
    norm_epsilon: PositiveFloat
    init_std: PositiveFloat
    layer_loop: Literal["unroll", "scan"]
    remat: Literal["none", "block", "dots"]

    @property
    def has_post_norms(self) -> bool:
        """Whether attention and MLP are normed once more before they are added to the stream."""
        return self.family != "gemma"

    @property
    def has_query_key_norms(self) -> bool:
        """Whether each head's queries and keys are normed before they are turned."""
        return self.family == "gemma3"

    def is_global(self, layer: int) -> bool:
        """Whether layer number `layer`, counted from 0, sees all that came before."""
        return (layer + 1) % self.global_every == 0

    @field_validator("num_key_heads", mode="after")
    @classmethod
    def _key_heads_divide_the_heads(cls, value: int, info: ValidationInfo) -> int:
        if "num_heads" in info.data and info.data["num_heads"] % value:
            raise ValueError(f"{value} does not divide num_heads, {info.data['num_heads']}")
        return value

    @field_validator("window", "rope_local_base", mode="after")
    @classmethod
    def _local_layers_have_what_they_need(cls, value: float | None, info: ValidationInfo) -> float | None:
        if "global_every" in info.data and (value is None) != (info.data["global_every"] == 1):
            every = info.data["global_every"]
            raise ValueError(
                f"{value} with global_every {every}; it is of local layers: null if and only if that is 1"
            )
        return value
