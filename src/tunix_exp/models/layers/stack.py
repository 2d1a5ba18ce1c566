"""Blocks one after another: a Python loop over a list, or one scan over stacked parameters.

"unroll" compiles to the faster program, "scan" compiles in a time that does not grow with the layers.
Both draw the same initial values and compute the same function. Where kinds of blocks come round, the scan
is over the rounds; the layers of a last round that is not whole follow it one by one.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PyTree

from tunix_exp.models.layers.dense import PRODUCT
from tunix_exp.models.paths import place_of

LayerLoop = Literal["unroll", "scan"]
Remat = Literal["none", "block", "dots"]

# What the backward pass finds saved instead of computing it again: of a block its input alone, or also
# the products with its weights (not those of queries and keys, which grow with the square of the length).
_SAVED = {"block": None, "dots": jax.checkpoint_policies.save_only_these_names(PRODUCT)}


def make_blocks(makers: Sequence[Callable[[], nnx.Module]], num_layers: int, *, layer_loop: LayerLoop) -> Any:
    """`num_layers` blocks, the kinds that `makers` make coming round: a list of them, or for "scan" blocks
    whose parameters have a leading L axis.

    Of one kind that is one block; of several a dict of one for each place of the round, by the layers that it
    has, and of the single layers behind the last whole round (`models/paths.py` has the keys).
    """
    period = len(makers)
    if layer_loop == "unroll":
        return nnx.List([makers[layer % period]() for layer in range(num_layers)])
    rounds = num_layers // period
    if period == 1:
        return _stacked(makers[0](), rounds)
    stacks = {f"{first}::{period}": _stacked(make(), rounds) for first, make in enumerate(makers) if rounds}
    rest = {str(layer): makers[layer % period]() for layer in range(rounds * period, num_layers)}
    return nnx.Dict(stacks | rest)


def unstacked(blocks: Any) -> nnx.List:
    """The blocks as a list of single ones; of stacked parameters every layer is copied."""
    if isinstance(blocks, nnx.List):
        return blocks
    stacks, single = _parts(blocks)
    for layers, block in stacks:
        graphdef, params = nnx.split(block)
        single |= zip(layers, (nnx.merge(graphdef, one) for one in _apart(params, layers)), strict=True)
    return nnx.List([single[layer] for layer in sorted(single)])


def run_blocks(
    blocks: Any,
    x_BTD: Float[Array, "B T D"],
    call: Callable[[Any, Array, Any], tuple[Array, Any]],
    told: Sequence[PyTree],
    *,
    remat: Remat,
) -> tuple[Float[Array, "B T D"], tuple[PyTree, ...]]:
    """`x_BTD` after all blocks, and what `call(block, x_BTD, told)` returned beside it for each layer.

    `told` is what each layer is told beside the stream; of blocks that are stacked it is stacked here.
    """
    stacks, single = _parts(blocks)

    def body(graphdef: nnx.GraphDef, params: nnx.State, x_BTD: Array, told: Any) -> tuple[Array, Any]:
        return call(nnx.merge(graphdef, params), x_BTD, told)

    def checkpointed(*, prevent_cse: bool) -> Callable[..., tuple[Array, Any]]:
        if remat == "none":
            return body
        return jax.checkpoint(body, static_argnums=0, prevent_cse=prevent_cse, policy=_SAVED[remat])

    left: dict[int, PyTree] = {}
    if stacks:
        graphdefs, params = zip(*(nnx.split(block) for _, block in stacks), strict=True)
        told_L = [_together([told[layer] for layer in layers]) for layers, _ in stacks]
        run = checkpointed(prevent_cse=False)

        def one_round(x_BTD: Array, places: Any) -> tuple[Array, list[Any]]:
            after = []
            for graphdef, (params, told) in zip(graphdefs, places, strict=True):
                x_BTD, one = run(graphdef, params, x_BTD, told)
                after.append(one)
            return x_BTD, after

        x_BTD, after = jax.lax.scan(one_round, x_BTD, list(zip(params, told_L, strict=True)))
        for (layers, _), left_L in zip(stacks, after, strict=True):
            left |= zip(layers, _apart(left_L, layers), strict=True)
    run = checkpointed(prevent_cse=True)
    told_one = {layer: jax.tree.map(jnp.asarray, told[layer]) for layer in single}
    for layer, block in single.items():
        graphdef, params = nnx.split(block)
        if not _is_adapted(params):
            params, x_BTD = _read_before_update(params, x_BTD)
        x_BTD, left[layer] = run(graphdef, params, x_BTD, told_one[layer])
    return x_BTD, tuple(left[layer] for layer in sorted(left))


def _stacked(block: nnx.Module, layers: int) -> nnx.Module:
    graphdef, params = nnx.split(block)
    return nnx.merge(graphdef, jax.tree.map(lambda leaf: jnp.stack([leaf] * layers), params))


def _parts(blocks: Any) -> tuple[list[tuple[range, nnx.Module]], dict[int, nnx.Module]]:
    """The stacks with their layers, and single blocks by theirs, in the order in which they run."""
    if isinstance(blocks, nnx.List):
        return [], dict(enumerate(blocks))
    stacks, single = [], {}
    for key, block in blocks.items() if isinstance(blocks, nnx.Dict) else [("0::1", blocks)]:
        place = place_of(f"blocks/{key}/block")
        assert place is not None
        if place.step is None:
            single[place.first] = block
        else:
            stacks.append((place.layers(jax.tree.leaves(nnx.state(block))[0].shape[0]), block))
    return sorted(stacks, key=lambda stack: stack[0].start), dict(sorted(single.items()))


def _together(trees: Sequence[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *trees)


def _apart(tree_L: PyTree, layers: range) -> Iterator[PyTree]:
    return (jax.tree.map(lambda leaf_L, at=at: leaf_L[at], tree_L) for at in range(len(layers)))


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
