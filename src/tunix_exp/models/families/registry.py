"""Every family, by the names of `model.family`; no JAX before a model is made."""

from functools import cache, reduce
from importlib import import_module
from operator import or_
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tunix_exp.models.chat import ChatTemplate
from tunix_exp.models.config import ModelConfig
from tunix_exp.models.families.family import Family
from tunix_exp.models.weight_map import WeightMap

FOLDERS = ("gpt2", "gemma", "llama", "recurrent_gemma")


@cache
def families() -> tuple[Family, ...]:
    """All families, in the order of their folders."""
    return tuple(import_module(f"tunix_exp.models.families.{folder}").FAMILY for folder in FOLDERS)


@cache
def weight_maps() -> dict[str, WeightMap]:
    """The weight map of every name of `model.family`."""
    return {name: names for family in families() for name, names in family.weight_maps.items()}


@cache
def chat_templates() -> dict[str, ChatTemplate]:
    """The chat templates, by their names."""
    return {family.chat.name: family.chat for family in families() if family.chat is not None}


def family_of(model: ModelConfig) -> Family:
    """The family that the config is of."""
    return next(family for family in families() if isinstance(model, family.config))


if TYPE_CHECKING:
    AnyModelConfig = ModelConfig
else:
    _CONFIGS = reduce(or_, (family.config for family in families()))
    AnyModelConfig = Annotated[_CONFIGS, Field(discriminator="family")]
