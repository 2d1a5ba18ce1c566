"""GPT-2 as config: the keys that every family has, and no more."""

from typing import Literal, Self

from pydantic import model_validator

from tunix_exp.models.config import ModelConfig
from tunix_exp.schema import contradiction


class GPT2Config(ModelConfig):
    """GPT-2 (Radford et al. 2019): learned positions, pre-norm, tied embeddings, no dropout."""

    family: Literal["gpt2"]

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % self.num_heads:
            both = {"width": self.width, "num_heads": self.num_heads}
            raise ValueError(
                contradiction(both, "the heads share the width; make it a multiple of their number")
            )
        return self

    @property
    def head_width(self) -> int:
        """Channels of a head."""
        return self.width // self.num_heads
