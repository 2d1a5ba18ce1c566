"""Arrays on the devices of one process or of several: put there, and seen whole."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather


def is_of_several(where: Any) -> bool:
    """Whether an array that lies there is held by several processes."""
    return where is not None and not where.is_fully_addressable


def each_by_one(files: Mapping[str, Path], digest: Callable[[Path], str]) -> dict[str, str]:
    """The digest of each file, a sha256 in hexadecimal, by its name: of several processes each makes some."""
    count = jax.process_count()
    if count == 1:
        return {name: digest(file) for name, file in files.items()}
    own = np.zeros((len(files), 32), np.uint8)
    for row, file in enumerate(files.values()):
        if row % count == jax.process_index():
            own[row] = np.frombuffer(bytes.fromhex(digest(file)), np.uint8)
    found = np.max(process_allgather(own), axis=0)
    return {name: bytes(row).hex() for name, row in zip(files, found, strict=True)}


def put(tree: Any, where: Any) -> Any:
    """`tree`, whose values every process has, on the devices of `where` (a sharding, or one for each leaf).

    Of several processes each fills its own devices, and nothing is sent from one to another.
    """
    if not any(map(is_of_several, jax.tree.leaves(where))):
        return jax.device_put(tree, where)
    each = jax.tree.map(lambda _: where, tree) if isinstance(where, jax.sharding.Sharding) else where
    return jax.tree.map(_filled, tree, each)


def _filled(values: Any, where: jax.sharding.Sharding) -> jax.Array:
    if isinstance(values, jax.Array) and not values.is_fully_addressable:
        return jax.device_put(values, where)
    whole = np.asarray(values)
    return jax.make_array_from_callback(whole.shape, where, lambda index: whole[index])


def gathered(tree: Any) -> Any:
    """The values of `tree`'s arrays on the host, whole; of several processes all ask for them."""
    return jax.device_get(jax.tree.map(_whole, tree))


def _whole(x: Any) -> Any:
    if not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated:
        return x
    return process_allgather(x, tiled=True)
