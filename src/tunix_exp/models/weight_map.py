"""The shape of a weight map: how a family's Hugging Face names and config keys translate to ours."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any


def unchanged(value: Any) -> Any:
    """`value`, as it is."""
    return value


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a weight map: a tensor's name, its parameter's path, and the way from one to the other.

    `{layer}` stands for every layer. `transform` is its own inverse (`.T`, or nothing), so that the row
    serves both directions, and is written with methods, so that it works on shapes as well as on values.
    """

    name: str
    path: str
    transform: Callable[[Any], Any] = unchanged


@dataclass(frozen=True, slots=True)
class WeightMap:
    """What a folder of one family holds, in its tensors and in its config.json.

    `prefix` starts the names of some checkpoints and is dropped. `not_parameters` are stored by some
    versions and have no effect. `tied` is the name of the output table that may be stored beside the
    embedding, and the embedding's, which it must equal. `normalise` turns the older and shorter forms of
    config.json into the one that `dimensions` (their key, our key) and `fixed` (the only value that is
    computed; not asked for where the key is missing and listed in `optional`) are written for; `spelled`
    turns that form into one that transformers reads, for its class `architecture`.
    """

    rows: tuple[Row, ...]
    prefix: str
    not_parameters: tuple[str, ...]
    tied: tuple[str, str]
    dimensions: tuple[tuple[str, str], ...]
    fixed: Mapping[str, Any]
    optional: frozenset[str]
    normalise: Callable[[dict[str, Any]], dict[str, Any]] = unchanged
    spelled: Callable[[dict[str, Any]], dict[str, Any]] = unchanged
    architecture: str = ""


def spelled(config: Any, weight_map: WeightMap) -> dict[str, Any]:
    """config.json of a model whose weights came from no folder; it lacks the dtype that they leave in."""
    found = {theirs: getattr(config, ours) for theirs, ours in weight_map.dimensions}
    begun = {"architectures": [weight_map.architecture], "initializer_range": config.init_std}
    return begun | weight_map.spelled(found | dict(weight_map.fixed))


def is_spelled(config: Any, weight_map: WeightMap) -> bool:
    """Whether the family's config.json has words for all that `config` says."""
    found = weight_map.normalise(spelled(config, weight_map))
    return all(found[theirs] == getattr(config, ours) for theirs, ours in weight_map.dimensions)


def each_layer(pattern: str, num_layers: int) -> list[str]:
    """The names that `pattern` stands for: one, or one for every layer."""
    if "{layer}" not in pattern:
        return [pattern]
    return [pattern.replace("{layer}", str(layer)) for layer in range(num_layers)]


def by_path(rows: tuple[Row, ...], num_layers: int) -> dict[str, Row]:
    """The rows of every single layer, by their parameters' paths."""
    single = (
        replace(row, name=name, path=path)
        for row in rows
        for name, path in zip(each_layer(row.name, num_layers), each_layer(row.path, num_layers), strict=True)
    )
    return {row.path: row for row in single}
