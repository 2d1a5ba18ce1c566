"""The group `objective` for supervised fine-tuning: nothing is to be chosen."""

from typing import ClassVar, Literal

from tunix_exp.objectives import registry


class ObjectiveConfig(registry.ObjectiveConfig):
    """Cross-entropy of the response tokens."""

    name: Literal["sft"]  # pyright: ignore[reportIncompatibleVariableOverride]
    tells_sets_apart: ClassVar[bool] = True
