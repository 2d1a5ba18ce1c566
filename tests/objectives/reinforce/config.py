"""The group `objective` for rewarded answers."""

from typing import Annotated, Literal

from pydantic import Field

from tunix_exp.objectives import registry


class ObjectiveConfig(registry.ObjectiveConfig):
    """How strongly the policy is held to the reference."""

    name: Literal["reinforce"]  # pyright: ignore[reportIncompatibleVariableOverride]
    beta: Annotated[float, Field(ge=0, le=100)]

    @property
    def updates(self) -> int:
        """Two on what was sampled once."""
        return 2
