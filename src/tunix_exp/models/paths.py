"""A parameter's path, and which layers of the model lie at it.

`blocks/4/mlp/up/kernel` is of layer 4. `blocks/mlp/up/kernel` has all layers stacked, one after another along
its first axis; `blocks/1::3/mlp/up/kernel` has every third of them, from layer 1 on.
"""

import re
from dataclasses import dataclass
from typing import Any

import jax

_BLOCKS = re.compile(r"blocks/(?:(?P<first>\d+)(?:::(?P<step>\d+))?/)?(?P<within>.+)")


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the blocks: the path within a block, and its layers: the first, and every `step`-th after
    it where they are stacked.
    """

    within: str
    first: int
    step: int | None

    def layers(self, count: int) -> range:
        """The numbers of the layers, where `count` are stacked."""
        step = self.step or 1
        return range(self.first, self.first + count * step, step)


def path_of(keys: tuple[Any, ...]) -> str:
    """The readable path of a leaf, from its `jax.tree_util` keys: `blocks/0/attention/qkv/kernel`."""
    return "/".join(str(key.key) for key in keys if isinstance(key, jax.tree_util.DictKey))


def place_of(path: str) -> Place | None:
    """Where `path` leads in the blocks; None for what is no block's."""
    found = _BLOCKS.fullmatch(path)
    if found is None:
        return None
    if found["first"] is None:
        return Place(found["within"], 0, 1)
    return Place(found["within"], int(found["first"]), int(found["step"]) if found["step"] else None)


def is_stacked(path: str) -> bool:
    """Whether the parameter at `path` holds several layers, one after another."""
    place = place_of(path)
    return place is not None and place.step is not None


def layer_paths(path: str, count: int) -> list[str]:
    """The paths that the `count` layers of the stacked parameter at `path` have when layers are single."""
    place = place_of(path)
    assert place is not None
    return [f"blocks/{layer}/{place.within}" for layer in place.layers(count)]
