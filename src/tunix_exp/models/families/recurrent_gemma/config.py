"""The architecture of RecurrentGemma, as config."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tunix_exp.models.config import GroupedConfig
from tunix_exp.schema import LEAST, MOST_LAYERS, Scale, Tokens, Width, contradiction

Kind = Literal["recurrent", "attention"]


class RecurrentGemmaConfig(GroupedConfig):
    """RecurrentGemma (Botev et al. 2024): Griffin's recurrent blocks and local attention (De et al. 2024)."""

    family: Literal["recurrent_gemma"]
    # What a layer's block gathers with, coming round through the layers.
    block_types: Annotated[tuple[Kind, ...], Field(strict=False, min_length=1, max_length=MOST_LAYERS)]
    recurrence_width: Width
    convolution_taps: Width  # tokens that the convolution sees, the token itself among them
    window: Tokens  # tokens that attention sees, the token itself among them
    rotated_share: Annotated[float, Field(ge=LEAST, le=1)]  # of a head's channels, the first ones
    logit_soft_cap: Scale

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kind of every layer's block."""
        return tuple(self.block_types[n % len(self.block_types)] for n in range(self.num_layers))

    @property
    def rotated_width(self) -> int:
        """Channels of a head that are rotated."""
        return int(self.head_width * self.rotated_share)

    @model_validator(mode="after")
    def _pairs_of_channels_are_rotated(self) -> Self:
        if self.rotated_width % 2 or not self.rotated_width:
            both = {"rotated_share": self.rotated_share, "head_width": self.head_width}
            says = f"{self.rotated_width} channels would be rotated; make that an even number above 0"
            raise ValueError(contradiction(both, says))
        return self

    @model_validator(mode="after")
    def _gates_share_the_recurrence(self) -> Self:
        if self.recurrence_width % self.num_heads:
            both = {"recurrence_width": self.recurrence_width, "num_heads": self.num_heads}
            says = "a gate has a block of channels for each head; make the width a multiple of the heads"
            raise ValueError(contradiction(both, says))
        return self
