"""The adapter group: which parameters are trained, and the layers that an adapter may stand beside."""

import math
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, field_validator

from tunix_exp import references
from tunix_exp.models.config import ModelConfig
from tunix_exp.models.families.registry import weight_maps
from tunix_exp.references import ReferenceText
from tunix_exp.schema import Config, Decay, Name, Scale, Width


def scale_of(rank: int, alpha: float, scaling: str) -> float:
    """Alpha over the rank, in rsLoRA over its square root (Kalajdzievski 2023)."""
    return alpha / (rank if scaling == "lora" else math.sqrt(rank))


class NoAdapterConfig(Config):
    """Every parameter of the model is trained."""

    name: Literal["none"]


class LoRAConfig(Config):
    """Low-rank adaptation (Hu et al. 2021): `scale·x·A·B` is learned beside frozen products."""

    name: Literal["lora"]
    weights: ReferenceText
    rank: Width
    alpha: Scale
    scaling: Literal["lora", "rslora"]
    dropout: Decay
    targets: Annotated[tuple[Name, ...], Field(strict=False, min_length=1, max_length=1000)]
    merge_for_eval: bool

    @field_validator("weights", mode="after")
    @classmethod
    def _are_drawn_or_in_a_folder(cls, value: str) -> str:
        if not isinstance(
            references.parse(value, key="adapter.weights"), references.Random | references.Local
        ):
            raise ValueError(f"{value!r} is neither random nor the folder of a PEFT adapter")
        return value

    @property
    def scale(self) -> float:
        """What the product of A and B is multiplied by."""
        return scale_of(self.rank, self.alpha, self.scaling)


AdapterConfig = Annotated[NoAdapterConfig | LoRAConfig, Field(discriminator="name")]


_ALL = ("all", "all-linear")  # ours, and PEFT's


def layers_of(family: str) -> dict[str, str]:
    """The layers of a block that an adapter may stand beside: their names on the Hub, and our paths.

    They are the products in the family's weight map: `{"attn.c_attn": "attention/qkv", …}`.
    """
    return {
        row.name.partition("{layer}.")[2].removesuffix(".weight"): path.removesuffix("/kernel")
        for row in weight_maps()[family].rows
        if (path := row.path.partition("{layer}/")[2]).endswith("/kernel")
    }


def target_names(family: str) -> list[str]:
    """What `adapter.targets` takes for a family: all layers, those of a part, or single ones."""
    layers = layers_of(family)
    parts = dict.fromkeys(path.split("/")[0] for path in layers.values())
    return [*_ALL, *parts, *layers]


def targeted(family: str, targets: tuple[str, ...]) -> dict[str, str]:
    """Those of `layers_of(family)` that `targets` name; a name the family lacks names none."""
    return {
        name: path for name, path in layers_of(family).items() if any(_names(t, name, path) for t in targets)
    }


def unknown_targets(family: str, targets: tuple[str, ...]) -> Iterator[str]:
    """Those of `targets` that name no layer of the family."""
    return (target for target in targets if not targeted(family, (target,)))


def base_dtype(model: ModelConfig, adapter: AdapterConfig, param_dtype: str) -> str:
    """The dtype that the model's own parameters are held in: as they are stored where they are frozen."""
    return param_dtype if isinstance(adapter, NoAdapterConfig) else model.stored_dtype


def _names(target: str, name: str, path: str) -> bool:
    # The end of a name is enough, as in PEFT: c_proj is attn.c_proj and mlp.c_proj.
    return target in _ALL or target == path.split("/")[0] or f".{name}".endswith(f".{target}")
