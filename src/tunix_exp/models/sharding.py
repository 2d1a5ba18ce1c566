"""Which part of an array lies on which device: one table for parameters, and the rule for rows.

The mesh has three axes: `data` (rows apart, parameters whole), `fsdp` (rows and parameters apart) and
`tensor` (the width of heads, hidden units and vocabulary apart). The same program runs on one device.
"""

import math
import re
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tunix_exp.models.paths import is_stacked, path_of

AXES = ("data", "fsdp", "tensor")
ROWS = ("data", "fsdp")

_INWARD = r"(attention/(qkv|query|key|value)|mlp/(up|gate)|recurrence/(input|gate))"
_OUTWARD = r"(attention/out|mlp/down|recurrence/out)"

# The end of a parameter's path, and how its axes are split; what is not named (norms, biases) is whole.
TABLE: tuple[tuple[str, P], ...] = (
    # By rows of the vocabulary: split by its width, every chunk's logits would have to cross the devices.
    (r"(token|output)_embedding/embedding", P(("tensor", "fsdp"), None)),
    (r"position_embedding/embedding", P(None, "fsdp")),
    (r"attention/(qkv|query|key|value)/(kernel|scales)", P("fsdp", "tensor")),
    (r"attention/out/(kernel|scales)", P("tensor", "fsdp")),
    (r"mlp/(up|gate)/(kernel|scales)", P("fsdp", "tensor")),
    (r"mlp/down/(kernel|scales)", P("tensor", "fsdp")),
    (r"recurrence/(input|gate)/(kernel|scales)", P("fsdp", "tensor")),
    (r"recurrence/out/(kernel|scales)", P("tensor", "fsdp")),
    # A block of the recurrence's channels for each head.
    (r"recurrence/unit/(input|decay)_weight", P("tensor", "fsdp", None)),
    # An adapter's two matrices: the long axis of each as the same axis of the kernel beside it.
    (rf"{_INWARD}/lora/a", P("fsdp", None)),
    (rf"{_INWARD}/lora/b", P(None, "tensor")),
    (rf"{_OUTWARD}/lora/a", P("tensor", None)),
    (rf"{_OUTWARD}/lora/b", P(None, "fsdp")),
)

# Which axis of what a layer keeps, by the field's name, is made by a product that is split by "tensor".
_KEPT = {"k_BKSH": 1, "v_BKSH": 1, "inputs_BCD": 2, "h_BD": 1}


def spec_of(path: str, shape: tuple[int, ...], mesh: Mesh | jax.sharding.AbstractMesh) -> P:
    """How the parameter at `path` is split; an axis that the mesh does not divide stays whole."""
    for pattern, spec in TABLE:
        if re.search(rf"(^|/){pattern}$", path):
            axes = (None, *spec) if is_stacked(path) else tuple(spec)
            if len(axes) == len(shape):
                return P(*(a if _divides(mesh, a, n) else None for a, n in zip(axes, shape, strict=True)))
    return P()


def shardings(tree: Any, mesh: Mesh) -> Any:
    """The sharding of every leaf of a tree of parameters, or of moments kept beside them."""
    return jax.tree_util.tree_map_with_path(
        lambda keys, leaf: NamedSharding(mesh, spec_of(path_of(keys), leaf.shape, mesh)), tree
    )


def placed_shapes(tree: Any, mesh: Mesh) -> Any:
    """The shapes of `tree` where the mesh wants them."""
    return placed(tree, shardings(tree, mesh))


def placed(tree: Any, where: Any) -> Any:
    """The shapes of `tree` with the shardings of `where`."""
    return jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), tree, where
    )


def rows(mesh: Mesh | jax.sharding.AbstractMesh, count: int) -> P:
    """How an array of `count` rows is split: over data and fsdp, or not where they do not divide it."""
    return P(ROWS) if count % (mesh.shape["data"] * mesh.shape["fsdp"]) == 0 else P()


def rows_of_device(mesh: Mesh, count: int) -> int:
    """How many of an array's `count` rows one device has."""
    parts = math.prod(mesh.shape[axis] for axis in ROWS)
    return count // parts if count % parts == 0 else count


def kept_shardings(tree: Any, mesh: Mesh) -> Any:
    """The sharding of every leaf of what rows keep while they are answered: rows apart as a batch's are, and
    heads or channels as the products that make them.
    """

    def of_leaf(keys: tuple[Any, ...], leaf: Any) -> NamedSharding:
        spec = [*rows(mesh, leaf.shape[0]), *[None] * leaf.ndim][: leaf.ndim]
        axis = _KEPT.get(str(getattr(keys[-1], "name", "")))
        if axis is not None and _divides(mesh, "tensor", leaf.shape[axis]):
            spec[axis] = "tensor"
        return NamedSharding(mesh, P(*spec))

    return jax.tree_util.tree_map_with_path(of_leaf, tree)


def mesh_of(params: Any) -> Mesh | None:
    """The mesh on which the parameters lie; None where they are of none."""
    where = jax.tree.leaves(params)[0].sharding
    mesh = where.mesh if isinstance(where, NamedSharding) else None
    assert not isinstance(mesh, jax.sharding.AbstractMesh)  # parameters lie on devices
    return mesh


def rows_beside(params: Any, count: int) -> NamedSharding | None:
    """Where an array of `count` rows lies for a model of these parameters; None where they are of no mesh."""
    mesh = mesh_of(params)
    return None if mesh is None else NamedSharding(mesh, rows(mesh, count))


def is_whole() -> bool:
    """Whether the mesh that is set, if one is, has a single device."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh.empty or mesh.size == 1


def row_shards(count: int) -> int:
    """Into how many parts `count` rows are split over the mesh that is set; 1 where none is."""
    mesh = jax.sharding.get_abstract_mesh()
    parts = 1 if mesh.empty else math.prod(mesh.shape[axis] for axis in ROWS)
    return parts if count % parts == 0 else 1


def data_groups(count: int) -> int:
    """How many groups of devices have a whole copy of the parameters, each with its own of `count` rows."""
    return jax.sharding.get_abstract_mesh().shape["data"] if row_shards(count) > 1 else 1


def each_in_its_group(x_CVD: jax.Array) -> jax.Array:
    """A table of vectors for each group of devices, held by that group as its copy of the parameter is."""
    mesh = jax.sharding.get_abstract_mesh()
    words = spec_of("token_embedding/embedding", x_CVD.shape[1:], mesh)
    return jax.lax.with_sharding_constraint(x_CVD, P("data", *words))


def split_rows(x: jax.Array) -> jax.Array:
    """`x` with its rows held apart as the batch's are; as it is where no mesh is set.

    Said once, behind the embedding: the compiler carries it through the blocks.
    """
    if row_shards(x.shape[0]) == 1:
        return x
    return jax.lax.with_sharding_constraint(x, P(ROWS, *[None] * (x.ndim - 1)))


def _divides(mesh: Mesh | jax.sharding.AbstractMesh, axes: str | tuple[str, ...] | None, size: int) -> bool:
    named = (axes,) if isinstance(axes, str) else axes or ()
    return size % math.prod(mesh.shape[axis] for axis in named) == 0
