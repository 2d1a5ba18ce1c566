"""A model's parameters as one number and one hash."""

import hashlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx

from tunix_exp.models.hosts import gathered
from tunix_exp.models.paths import is_stacked, layer_paths, path_of


def parameter_count(params: nnx.State) -> int:
    """How many numbers the parameters (or their shapes) stand for; the scales of quantized ones are none."""
    return sum(number_count(path_of(k), leaf) for k, leaf in jax.tree_util.tree_leaves_with_path(params))


def number_count(path: str, leaf: Any) -> int:
    """How many of the model's numbers the parameter at `path` stands for: of four-bit codes two a byte."""
    if path.endswith("/scales"):
        return 0
    return leaf.size * (2 if leaf.dtype == np.uint8 else 1)


def weight_hash(params: nnx.State) -> str:
    """The sha256 of every parameter's path, dtype, shape and bytes, in the order of paths.

    Stacked layers count as single ones, so the hash depends neither on the device nor on the layer loop.
    """
    digest = hashlib.sha256()
    for path, leaf, layer in sorted(_parts(params), key=lambda part: part[0]):
        values = np.asarray(gathered(leaf if layer is None else leaf[layer]))
        digest.update(f"{path} {values.dtype} {list(values.shape)}\n".encode())
        digest.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _parts(params: nnx.State) -> Iterator[tuple[str, Any, int | None]]:
    """Path, array and index into it (None: the whole) of every single layer's parameters."""
    for keys, leaf in jax.tree_util.tree_leaves_with_path(params):
        path = path_of(keys)
        if all(device.platform == "cpu" for device in leaf.devices()):
            leaf = gathered(leaf)  # of one process no copy, and a layer of it takes no program
        if is_stacked(path):
            yield from ((name, leaf, index) for index, name in enumerate(layer_paths(path, leaf.shape[0])))
        else:
            yield path, leaf, None
