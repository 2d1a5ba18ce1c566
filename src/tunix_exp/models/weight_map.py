"""The shape of a weight map: how a family's Hugging Face names and config keys translate to ours."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any


def unchanged(value: Any) -> Any:
    """`value`, as it is."""
    return value


def transposed(kernel: Any) -> Any:
    """`kernel` with its two axes exchanged: nn.Linear holds [outputs, inputs], ours is [inputs, outputs]."""
    return kernel.T


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a weight map: a tensor's name, its parameter's path, and the way from one to the other.

    `{layer}` stands for every layer that has the parameter. `transform` is its own inverse (`.T`, or
    nothing), so that the row serves both directions, and is written with methods, so that it works on shapes
    as well as on values.
    Without `has_prefix` the name is whole as it stands, in every checkpoint.
    """

    name: str
    path: str
    transform: Callable[[Any], Any] = unchanged
    has_prefix: bool = True


@dataclass(frozen=True, slots=True)
class Kind:
    """What the value of a key may be: `name` says it, `holds` tells it of a value."""

    name: str
    holds: Callable[[Any], bool]

    def or_null(self) -> "Kind":
        """The same, or null."""
        return Kind(f"{self.name} or null", lambda value: value is None or self.holds(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


COUNT = Kind("a whole number above 0", lambda value: type(value) is int and value > 0)
NUMBER = Kind("a number above 0", lambda value: _is_number(value) and value > 0)
SHARE = Kind("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
TEXT = Kind("a text", lambda value: isinstance(value, str))
TEXTS = Kind(
    "a list of texts",
    lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
)
OBJECT = Kind("an object", lambda value: isinstance(value, dict))
ANYTHING = Kind("anything", lambda value: True)


@dataclass(frozen=True, slots=True)
class Within:
    """How the text model of a family lies in a checkpoint of more than text.

    config.json there has the `model_type`, the text model's own under `text_config`, and beside it keys of
    `kinds`. `prefixes` start the names of the text model's tensors, the longest first, and `others` those of
    the other parts'.
    """

    model_type: str
    prefixes: tuple[str, ...]
    others: tuple[str, ...]
    kinds: Mapping[str, Kind]


@dataclass(frozen=True, slots=True)
class WeightMap:
    """What a folder of one family holds, in its tensors and in its config.json.

    `rows` are of all parameters that a model of the family may have. `prefix` starts the names of some
    checkpoints and is dropped. `not_parameters` are stored by some versions and have no effect. `tied` is the
    name of the output table and the embedding's, to which it must be equal where a model without one finds it
    stored beside the embedding. `kinds` are the keys of config.json that are
    understood: those that are read, and those that change nothing that is computed; no other may stand there.
    `normalise` makes the older and shorter forms of config.json into the one that `dimensions` (their key,
    our key) and `fixed` (the only value that is computed; not asked for where the key is missing and listed
    in `optional`) are written for; `written` turns that form into one that transformers reads, for the first
    of its classes `architectures`, which are those whose weights are these. `within` is where else the
    text model lies. `multimodal` are the model types of others that hold more than text.
    `limits` says what a config may say and config.json cannot, and `unsaid` are keys of the config of which
    no config.json of the family says anything, as published models have them.
    """

    rows: tuple[Row, ...]
    prefix: str
    not_parameters: tuple[str, ...]
    tied: tuple[str, str]
    dimensions: tuple[tuple[str, str], ...]
    fixed: Mapping[str, Any]
    optional: frozenset[str]
    kinds: Mapping[str, Kind]
    normalise: Callable[[dict[str, Any]], dict[str, Any]] = unchanged
    written: Callable[[dict[str, Any]], dict[str, Any]] = unchanged
    architectures: tuple[str, ...] = ()
    within: Within | None = None
    multimodal: tuple[str, ...] = ()
    limits: str = ""
    unsaid: Mapping[str, Any] = field(default_factory=dict)


def stored_name(row: Row, weight_map: WeightMap) -> str:
    """The name under which a checkpoint of all of the model holds the row's tensor."""
    return (weight_map.prefix if row.has_prefix else "") + row.name


def short_name(name: str, weight_map: WeightMap) -> str | None:
    """The stored name without what some checkpoints begin it with; None of a tensor of another part."""
    within = weight_map.within
    if within is not None:
        if name.startswith(within.others):
            return None
        for prefix in within.prefixes:
            if name.startswith(prefix):
                return name.removeprefix(prefix)
    return name.removeprefix(weight_map.prefix)


def config_json(config: Any, weight_map: WeightMap) -> dict[str, Any]:
    """config.json of a model whose weights came from no folder; it lacks the dtype that they leave in."""
    found = {theirs: getattr(config, ours) for theirs, ours in weight_map.dimensions}
    begun = {"architectures": list(weight_map.architectures[:1]), "initializer_range": config.init_std}
    return begun | weight_map.written(found | dict(weight_map.fixed))


def is_expressible(config: Any, weight_map: WeightMap) -> bool:
    """Whether the family's config.json can say all that `config` says."""
    found = weight_map.normalise(config_json(config, weight_map))
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
