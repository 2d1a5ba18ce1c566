"""Equal blocks one after another: a Python loop over a list, or one scan over stacked parameters.

"unroll" compiles to the faster program, "scan" compiles in a time that does not grow with the layers.
Both draw the same initial values and compute the same function.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from tunix_exp.models.layers.dense import PRODUCT

LayerLoop = Literal["unroll", "scan"]
Remat = Literal["none", "block", "dots"]

# What the backward pass finds saved instead of computing it again: of a block its input alone, or also
# the products with its weights (not those of queries and keys, which grow with the square of the length).
_SAVED = {"block": None, "dots": jax.checkpoint_policies.save_only_these_names(PRODUCT)}


def make_blocks(make: Callable[[], nnx.Module], num_layers: int, *, layer_loop: LayerLoop) -> Any:
    """A list of `num_layers` blocks, or for "scan" one block whose parameters have a leading L axis."""
    if layer_loop == "unroll":
        return nnx.List([make() for _ in range(num_layers)])
    graphdef, params = nnx.split(make())
    return nnx.merge(graphdef, jax.tree.map(lambda leaf: jnp.stack([leaf] * num_layers), params))


def unstacked(blocks: Any) -> nnx.List:
    """The blocks as a list of single ones; of stacked parameters every layer is copied."""
    if isinstance(blocks, nnx.List):
        return blocks
    graphdef, params = nnx.split(blocks)
    num_layers = jax.tree.leaves(params)[0].shape[0]
    layers = [jax.tree.map(lambda leaf_L, layer=layer: leaf_L[layer], params) for layer in range(num_layers)]
    return nnx.List([nnx.merge(graphdef, layer) for layer in layers])


def run_blocks(
    blocks: Any,
    x_BTD: Float[Array, "B T D"],
    call: Callable[[Any, Array, Any], tuple[Array, Any]],
    layers: PyTree | None,
    *,
    remat: Remat,
) -> tuple[Float[Array, "B T D"], PyTree]:
    """`x_BTD` after all blocks, and what `call(block, x_BTD, layer)` returned beside it for each layer.

    `layers` holds what differs between layers (cache, traits): a sequence over the layers for a list of
    blocks, a tree of arrays with a leading L for stacked ones; the second result has that form too.
    """

    def body(graphdef: nnx.GraphDef, params: nnx.State, x_BTD: Array, layer: Any) -> tuple[Array, Any]:
        return call(nnx.merge(graphdef, params), x_BTD, layer)

    if remat != "none":
        unrolled = isinstance(blocks, nnx.List)
        body = jax.checkpoint(body, static_argnums=0, prevent_cse=unrolled, policy=_SAVED[remat])

    if isinstance(blocks, nnx.List):
        after = []
        for block, layer in zip(blocks, layers or [None] * len(blocks), strict=True):
            graphdef, params = nnx.split(block)
            if not _is_adapted(params):
                params, x_BTD = _read_before_update(params, x_BTD)
            x_BTD, left = body(graphdef, params, x_BTD, layer)
            after.append(left)
        return x_BTD, tuple(after)

    graphdef, params = nnx.split(blocks)
    return jax.lax.scan(
        lambda x_BTD, layer: body(graphdef, layer[0], x_BTD, layer[1]), x_BTD, (params, layers)
    )


def _is_adapted(params: nnx.State) -> bool:
    """Something stands beside the parameters, which are frozen then, and have no gradients to wait with."""
    leaves = jax.tree.leaves(params, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))
    return any(type(leaf) is not nnx.Param for leaf in leaves)


@jax.custom_vjp
def _read_before_update(params: nnx.State, x_BTD: Array) -> tuple[nnx.State, Array]:
    """Both as they are; the gradient of `params` comes after that of `x_BTD`.

    Else nothing says that the backward pass has read a weight when its update is written in its place, and
    XLA copies the weights of all blocks first.
    """
    return params, x_BTD


def _read_before_update_bwd(_: None, gradients: tuple[nnx.State, Array]) -> tuple[nnx.State, Array]:
    dparams, dx_BTD = gradients
    # XLA sees through a barrier, and may not drop this: a factor of one, or not a number.
    one = jnp.where(jnp.isfinite(jnp.sum(dx_BTD, dtype=jnp.float32)), 1.0, jnp.nan)
    return jax.tree.map(lambda d: d * one.astype(d.dtype), dparams), dx_BTD


_read_before_update.defvjp(lambda *both: (both, None), _read_before_update_bwd)
