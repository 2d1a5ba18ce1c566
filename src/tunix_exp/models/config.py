"""The model group: an architecture, where its weights come from, and its tokenizer."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from tunix_exp.models.gemma_config import GemmaConfig
from tunix_exp.schema import Config


class GPT2Config(Config):
    """GPT-2 (Radford et al. 2019): learned positions, pre-norm, tied embeddings, no dropout."""

    family: Literal["gpt2"]
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
    norm_epsilon: Annotated[float, Field(gt=0)]
    init_std: Annotated[float, Field(gt=0)]
    layer_loop: Literal["unroll", "scan"]
    remat: Literal["none", "block", "dots"]

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}")
        return self


ModelConfig = Annotated[GPT2Config | GemmaConfig, Field(discriminator="family")]
