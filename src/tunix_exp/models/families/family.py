"""What the rest of the package asks of a family; no JAX."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tunix_exp.models.chat import ChatTemplate
from tunix_exp.models.config import ModelConfig
from tunix_exp.models.weight_map import WeightMap


@dataclass(frozen=True, slots=True)
class Dimensions:
    """The sizes of one block that the memory plan and the choice of an attention kernel need.

    Where blocks are of two kinds, a share of them attends, and the others have a recurrence.
    """

    heads: int
    head_width: int
    projected: int  # outputs of the products before attention or recurrence, in the mean of the blocks
    hidden_products: int  # products of the MLP with as many outputs as it has hidden units
    late_norms: int  # channels of norms behind products, which the backward pass wants in float32
    attention_soft_cap: float | None  # of the attention logits
    kinds: int = 1  # blocks that come round under one scan
    attending: float = 1.0  # the share of the blocks with attention
    recurrence: int = 0  # float32 numbers a token that the others' recurrence has at work


@dataclass(frozen=True, slots=True)
class Family:
    """A family, as its folder gives it; `module.py` there has `decoder`, which makes a model of a config.

    `weight_maps` are by the names of `model.family` that the family goes by. `cache_bytes(config,
    slots, number_bytes)` is what all layers keep of a row of so many slots, with numbers of the compute dtype
    of that size.
    """

    package: str
    config: type[ModelConfig]
    weight_maps: Mapping[str, WeightMap]
    dimensions: Callable[[Any], Dimensions]
    cache_bytes: Callable[[Any, int, int], int]
    chat: ChatTemplate | None = None

    @property
    def decoder(self) -> Callable[..., Any]:
        """The function `decoder(config, *, param_dtype, compute_dtype)` of the family; imports JAX."""
        return import_module(f"{self.package}.module").decoder
