"""The config as a tree, with what differs from the defaults marked, and the keys in which runs differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunix_exp.evidence.kinds.config import flatten
from tunix_exp.numbers import written

# What stands for the default of a key that the defaults do not have.
NEW = "not a key"


@dataclass(frozen=True, slots=True)
class Node:
    """A key: a group has children, a leaf a value. `default` is what it would have been if that differs."""

    key: str
    value: str | None
    default: str | None
    children: tuple["Node", ...]
    n_changed: int


def config_tree(config: Mapping[str, Any], defaults: Mapping[str, Any] | None) -> tuple[Node, ...]:
    """The keys of `config` in their order, groups last; without recorded defaults nothing is marked."""
    return _nodes(config, config if defaults is None else defaults)


def differing_keys(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[str | None]]:
    """Every dotted leaf key whose value is not the same in all `configs`, with its value in each.

    `None` stands for a key that a config does not have.
    """
    flat = [flatten(config) for config in configs]
    keys = dict.fromkeys(key for leaves in flat for key in leaves)
    texts = {key: [written(one[key]) if key in one else None for one in flat] for key in keys}
    return {key: values for key, values in texts.items() if len(set(values)) > 1}


def _nodes(config: Mapping[str, Any], defaults: Any) -> tuple[Node, ...]:
    known = defaults if isinstance(defaults, Mapping) else {}
    nodes = [_node(key, value, known) for key, value in config.items()]
    gone = [
        Node(key, None, written(value), (), 1)
        for key, value in known.items()
        if key not in config and not isinstance(value, Mapping)
    ]
    leaves = [node for node in nodes if not node.children]
    return (*leaves, *gone, *(node for node in nodes if node.children))


def _node(key: str, value: Any, known: Mapping[str, Any]) -> Node:
    if isinstance(value, Mapping) and value:
        children = _nodes(value, known.get(key))
        return Node(key, None, None, children, sum(child.n_changed for child in children))
    if key not in known:
        return Node(key, written(value), NEW, (), 1)
    is_same = type(value) is type(known[key]) and value == known[key]
    return Node(key, written(value), None if is_same else written(known[key]), (), int(not is_same))
