"""The group `objective` for unlikelihood."""

from typing import Annotated, Literal

from pydantic import Field

from tunix_exp.objectives import registry
from tunix_exp.schema import Name


class ObjectiveConfig(registry.ObjectiveConfig):
    """Which category is avoided, and how much that weighs beside the likelihood of all others."""

    name: Literal["unlikelihood"]  # pyright: ignore[reportIncompatibleVariableOverride]
    avoid: Name
    weight: Annotated[float, Field(ge=0, le=100)]
