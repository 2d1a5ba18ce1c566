"""Parameters by their paths, each layer alone."""

from typing import Any

import jax

from tunix_exp.models.paths import is_stacked, layer_paths, path_of


def flat(params: Any) -> dict[str, Any]:
    """Arrays or shapes by path, whichever layer loop they are of."""
    found: dict[str, Any] = {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(params):
        path = path_of(keys)
        if not is_stacked(path):
            found[path] = leaf
        elif isinstance(leaf, jax.ShapeDtypeStruct):
            one = jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)
            found |= dict.fromkeys(layer_paths(path, leaf.shape[0]), one)
        else:
            found |= zip(layer_paths(path, len(leaf)), leaf, strict=True)
    return found
