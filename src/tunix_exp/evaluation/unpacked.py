"""A model's weights as generation reads them: layers apart, matrices in the compute dtype.

Else every token would copy each layer out of a stack, and cast or dequantize it. They are made once for all
prompts, which are read by the same. Norms stay as they are: they compute in float32.
"""

from functools import lru_cache, partial
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array

from tunix_exp.models.architecture import LanguageModel
from tunix_exp.models.layers.stack import unstacked
from tunix_exp.models.paths import path_of
from tunix_exp.models.quantize import dequantize
from tunix_exp.models.sharding import mesh_of, placed, shardings


def unpacked(graphdef: nnx.GraphDef[Any], params: nnx.State) -> nnx.State:
    """The parameters to answer by; what lies so already is the same array."""
    _, shapes, made = _plan(graphdef, params)
    arrays = _by_path(params) | (_made(graphdef, made, mesh_of(params), params) if made else {})
    return jax.tree_util.tree_map_with_path(lambda keys, _: arrays[path_of(keys)], shapes)


def unpacked_shapes(
    graphdef: nnx.GraphDef[Any], params: nnx.State
) -> tuple[nnx.GraphDef[Any], nnx.State, list[jax.ShapeDtypeStruct]]:
    """The graph to answer by, its parameters' shapes where they lie, and those of `params` that are held
    beside what was made of them.
    """
    graphdef_read, shapes, made = _plan(graphdef, params)
    kept = _by_path(shapes).keys() - set(made)
    return graphdef_read, shapes, [leaf for path, leaf in _by_path(params).items() if path not in kept]


def _plan(
    graphdef: nnx.GraphDef[Any], params: nnx.State
) -> tuple[nnx.GraphDef[Any], nnx.State, tuple[str, ...]]:
    """Graph and shapes of what is read, and the paths at which something else is than in `params`."""
    leaves, treedef = jax.tree.flatten(params)
    alike = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding) for leaf in leaves)
    return _plan_of(graphdef, treedef, alike)


@lru_cache(maxsize=4)
def _plan_of(
    graphdef: nnx.GraphDef[Any], treedef: Any, leaves: tuple[jax.ShapeDtypeStruct, ...]
) -> tuple[nnx.GraphDef[Any], nnx.State, tuple[str, ...]]:
    """The same of shapes; kept, as it takes longer than a short prompt's answer."""
    params = jax.tree.unflatten(treedef, leaves)
    graphdef_read, shapes = nnx.split(nnx.eval_shape(partial(_model, graphdef), params))
    mesh = mesh_of(params)
    shapes = shapes if mesh is None else placed(shapes, shardings(shapes, mesh))
    kinds = {path: (leaf.shape, leaf.dtype) for path, leaf in _by_path(params).items()}
    made = [path for path, leaf in _by_path(shapes).items() if kinds.get(path) != (leaf.shape, leaf.dtype)]
    return graphdef_read, shapes, tuple(made)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _made(
    graphdef: nnx.GraphDef[Any], paths: tuple[str, ...], mesh: Mesh | None, params: nnx.State
) -> dict[str, Array]:
    """What is read at `paths`."""
    read = nnx.state(_model(graphdef, params))
    if mesh is not None:
        read = jax.lax.with_sharding_constraint(read, shardings(read, mesh))
    leaves = _by_path(read)
    return {path: leaves[path] for path in paths}


def _model(graphdef: nnx.GraphDef[Any], params: nnx.State) -> LanguageModel:
    model: LanguageModel = nnx.merge(graphdef, params)
    model.blocks, model.layer_loop = unstacked(model.blocks), "unroll"
    dequantize(model, model.compute_dtype)
    graphdef, params = nnx.split(model)
    cast = jax.tree.map(lambda leaf: leaf.astype(model.compute_dtype) if leaf.ndim > 1 else leaf, params)
    return nnx.merge(graphdef, cast)


def _by_path(tree: Any) -> dict[str, Any]:
    return {path_of(keys): leaf for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)}
