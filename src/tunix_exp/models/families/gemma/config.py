"""The architecture of the Gemma models, as config.

What the three generations differ in is said by `family`: Gemma 2 and 3 also norm what a block adds to the
stream, Gemma 3 norms queries and keys. All else is a number of its own, given in YAML.
"""

from typing import Literal

from pydantic import ValidationInfo, field_validator

from tunix_exp.models.config import UNBOUNDED, GroupedConfig
from tunix_exp.schema import Layers, Scale, Tokens, contradiction


class GemmaConfig(GroupedConfig):
    """Gemma 1, 2 (Gemma Team 2024) and 3 text (2025); `rope_base` is that of global layers."""

    family: Literal["gemma", "gemma2", "gemma3"]
    query_pre_attn_scalar: Scale  # attention logits are divided by its square root
    global_every: Layers  # every n-th layer sees all that came before, the others a window; 1: all do
    window: Tokens | None  # tokens that a local layer sees, the token itself among them
    rope_local_base: Scale | None  # in local layers
    rope_global_factor: Scale | None  # by which the angles of global layers are divided (Gemma 3 from 4B)
    attention_soft_cap: Scale | None
    logit_soft_cap: Scale | None

    @property
    def has_post_norms(self) -> bool:
        """Whether attention and MLP are normed once more before they are added to the stream."""
        return self.family != "gemma"

    @property
    def has_query_key_norms(self) -> bool:
        """Whether each head's queries and keys are normed before they are rotated."""
        return self.family == "gemma3"

    def is_global(self, layer: int) -> bool:
        """Whether layer number `layer`, counted from 0, sees all that came before."""
        return (layer + 1) % self.global_every == 0

    @property
    def windows(self) -> tuple[int, ...]:
        """How far back each layer sees, in tokens with the own one counted."""
        if self.window is None:
            return (UNBOUNDED,) * self.num_layers
        return tuple(UNBOUNDED if self.is_global(n) else self.window for n in range(self.num_layers))

    @property
    def rope_bases(self) -> tuple[float, ...]:
        """Each layer's rotary base."""
        if self.rope_local_base is None:
            return (self.rope_base,) * self.num_layers
        local = self.rope_local_base
        return tuple(self.rope_base if self.is_global(n) else local for n in range(self.num_layers))

    @property
    def rope_factors(self) -> tuple[float, ...]:
        """By what each layer's angles are divided."""
        factor = self.rope_global_factor or 1.0
        return tuple(factor if self.is_global(n) else 1.0 for n in range(self.num_layers))

    @field_validator("window", "rope_local_base", mode="after")
    @classmethod
    def _local_layers_have_what_they_need(cls, value: float | None, info: ValidationInfo) -> float | None:
        if "global_every" in info.data and (value is None) != (info.data["global_every"] == 1):
            both = {str(info.field_name): value, "global_every": info.data["global_every"]}
            says = "it is of local layers: null with global_every=1, where there are none, and nowhere else"
            raise ValueError(contradiction(both, says))
        return value
