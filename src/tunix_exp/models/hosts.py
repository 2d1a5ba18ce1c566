"""Arrays on the devices of one process or of several: put there, and seen whole."""

from typing import Any

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather


def put(tree: Any, where: Any) -> Any:
    """`tree`, whose values every process has, on the devices of `where` (a sharding, or one for each leaf).

    Of several processes each fills its own devices, and nothing is sent from one to another.
    """
    if all(one is None or one.is_fully_addressable for one in jax.tree.leaves(where)):
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
