"""The architecture of Llama and its relatives, as config.

What they differ in is told by `family`: Qwen2 has biases of queries, keys and values, Qwen3 norms queries and
keys. All else is a number of its own, given in YAML.
"""

from typing import Literal, Self

from pydantic import model_validator

from tunix_exp.models.config import GroupedConfig
from tunix_exp.schema import Layers, Scale, Tokens, contradiction


class LlamaConfig(GroupedConfig):
    """Llama 3 (Grattafiori et al. 2024), Qwen2.5 and 3 (Qwen Team 2024, 2025), SmolLM2 and 3 (2025)."""

    family: Literal["llama", "qwen2", "qwen3", "smollm3"]
    # Slower rotation for longer texts (layers/rotary.py), all four or none.
    rope_factor: Scale | None  # by which it is slower
    rope_low_freq_factor: Scale | None  # turns within the original positions up to which all of it is
    rope_high_freq_factor: Scale | None  # turns from which on none of it is
    rope_original_positions: Tokens | None  # of the first training
    unrotated_every: Layers | None  # every n-th layer has no positions (Yang et al. 2025)

    @property
    def has_query_key_value_bias(self) -> bool:
        """Whether queries, keys and values have a bias."""
        return self.family == "qwen2"

    @property
    def has_query_key_norms(self) -> bool:
        """Whether each head's queries and keys are normed before they are rotated."""
        return self.family == "qwen3"

    @property
    def rope_bases(self) -> tuple[float | None, ...]:
        """Each layer's rotary base; None where nothing is rotated."""
        every = self.unrotated_every or self.num_layers + 1
        return tuple(None if (layer + 1) % every == 0 else self.rope_base for layer in range(self.num_layers))

    @model_validator(mode="after")
    def _a_scaled_rotation_is_told_whole(self) -> Self:
        names = ("rope_factor", "rope_low_freq_factor", "rope_high_freq_factor", "rope_original_positions")
        told = {name: getattr(self, name) for name in names}
        if None in told.values() and set(told.values()) != {None}:
            raise ValueError(
                contradiction(told, "a scaled rotation takes all four; set all to null, or none")
            )
        low, high = self.rope_low_freq_factor, self.rope_high_freq_factor
        if low is not None and high is not None and low >= high:
            both = {"rope_low_freq_factor": low, "rope_high_freq_factor": high}
            raise ValueError(contradiction(both, "between them the factor fades out; make the second larger"))
        return self

    @model_validator(mode="after")
    def _some_layer_is_unrotated(self) -> Self:
        if self.unrotated_every is not None and self.unrotated_every > self.num_layers:
            both = {"unrotated_every": self.unrotated_every, "num_layers": self.num_layers}
            raise ValueError(contradiction(both, "no layer would be without positions; null says so"))
        return self

    @model_validator(mode="after")
    def _transformers_takes_the_heads(self) -> Self:
        if self.family == "llama" and self.width % self.num_heads:
            both = {"width": self.width, "num_heads": self.num_heads}
            says = (
                "Llama's width is a multiple of its heads, whatever the width of a head; change one of them"
            )
            raise ValueError(contradiction(both, says))
        return self
