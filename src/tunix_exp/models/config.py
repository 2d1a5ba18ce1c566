"""The model group: an architecture, where its weights come from, and its tokenizer."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tunix_exp.models.gemma_config import GemmaConfig
from tunix_exp.references import ReferenceText
from tunix_exp.schema import Config, Layers, Name, Small, Tokens, Width, contradiction


class GPT2Config(Config):
    """GPT-2 (Radford et al. 2019): learned positions, pre-norm, tied embeddings, no dropout."""

    family: Literal["gpt2"]
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

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % self.num_heads:
            both = {"width": self.width, "num_heads": self.num_heads}
            raise ValueError(
                contradiction(both, "the heads share the width; make it a multiple of their number")
            )
        return self


ModelConfig = Annotated[GPT2Config | GemmaConfig, Field(discriminator="family")]
