"""One update as a pure compiled function of state, batch and scalars."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from tunix_exp.models import sharding
from tunix_exp.models.loss import count, summed_nll
from tunix_exp.training import optim
from tunix_exp.training.config import OptimConfig
from tunix_exp.training.optim import Scalars, Tree


class TrainState(NamedTuple):
    """All that training carries from one step to the next; the data position is `step` itself."""

    params: Tree
    opt_state: Tree
    step: jax.Array


class BatchArrays(NamedTuple):
    """A batch on its way to the device: int32 tokens, segment ids (0 is padding), response marks.

    Fields are arrays on host or device, or their shapes alone.
    """

    tokens_BT: Any
    segment_ids_BT: Any
    loss_mask_BT: Any


class Metrics(NamedTuple):
    """Figures of one update, before the update was applied; loss is nats per response token."""

    loss: jax.Array
    grad_norm: jax.Array
    lr: jax.Array
    tokens: jax.Array
    response_tokens: jax.Array


Step = Callable[[TrainState, BatchArrays, Scalars], tuple[TrainState, Metrics]]


def init_state(structure: OptimConfig, params: Tree, state_dtype: str) -> TrainState:
    """The state before the first update."""
    return TrainState(params, optim.init(structure, params, state_dtype), jnp.int32(0))


def placed_state(
    structure: OptimConfig, params: Tree, state_dtype: str, mesh: jax.sharding.Mesh
) -> TrainState:
    """The state before the first update, each part where the mesh wants it; `params` lie there already."""
    state = jax.eval_shape(lambda p: init_state(structure, p, state_dtype), params)
    leaves, treedef = jax.tree.flatten(sharding.shardings(state.opt_state, mesh))
    opt_state = _init(structure, state_dtype, treedef, tuple(leaves))(params)  # pyright: ignore
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    return TrainState(params, opt_state, jax.device_put(jnp.int32(0), everywhere))


@functools.cache
def _init(structure: OptimConfig, state_dtype: str, treedef: Any, leaves: tuple[Any, ...]) -> Any:
    placed = jax.tree.unflatten(treedef, leaves)
    return jax.jit(functools.partial(optim.init, structure, state_dtype=state_dtype), out_shardings=placed)


@functools.cache
def make_step(graphdef: nnx.GraphDef[Any], structure: OptimConfig) -> Any:
    """The jitted step for one architecture and one optimizer structure; the state's buffers are donated.

    Cached, so that jobs of a sweep in one process share one compilation.
    """
    return jax.jit(functools.partial(_step, graphdef, structure), donate_argnums=0)


def compile_step(
    graphdef: nnx.GraphDef[Any], structure: OptimConfig, mesh: jax.sharding.Mesh, *arguments: Any
) -> Any:
    """The compiled step for `arguments`: state, batch and scalars as ShapeDtypeStructs with shardings.

    One program for all jobs of this process that agree in it; `memory_analysis()` is the compiler's word.
    """
    leaves, treedef = jax.tree.flatten(arguments)
    kinds = tuple((leaf.shape, str(leaf.dtype), leaf.sharding) for leaf in leaves)
    return _compiled(graphdef, structure, mesh, treedef, kinds)  # pyright: ignore[reportArgumentType]


@functools.cache
def _compiled(
    graphdef: nnx.GraphDef[Any],
    structure: OptimConfig,
    mesh: jax.sharding.Mesh,
    treedef: Any,
    leaves: tuple[tuple[Any, str, Any], ...],
) -> Any:
    state, batch, s = jax.tree.unflatten(
        treedef, [jax.ShapeDtypeStruct(shape, dtype, sharding=where) for shape, dtype, where in leaves]
    )
    # The new state lies where the old one lay, else the next call would not fit the program.
    placed = jax.tree.map(lambda leaf: leaf.sharding, state), None
    step = jax.jit(functools.partial(_step, graphdef, structure), donate_argnums=0, out_shardings=placed)
    with jax.set_mesh(mesh):
        return step.lower(state, batch, s).compile()


def abstract_arguments(
    structure: OptimConfig,
    params: Tree,
    s: Scalars,
    *,
    mesh: jax.sharding.Mesh,
    batch_shape: tuple[int, int],
    state_dtype: str,
) -> tuple[TrainState, BatchArrays, Scalars]:
    """State, batch and scalars as shapes with shardings: all that compiling the step needs."""
    state = jax.eval_shape(lambda p: init_state(structure, p, state_dtype), params)
    batch_sharding = jax.sharding.NamedSharding(mesh, sharding.rows(mesh, batch_shape[0]))
    kinds = (jnp.int32, jnp.int32, jnp.bool_)
    batch = BatchArrays(*(jax.ShapeDtypeStruct(batch_shape, kind, sharding=batch_sharding) for kind in kinds))
    return _placed(state, mesh), batch, _placed(s, mesh)


def _placed(tree: Any, mesh: jax.sharding.Mesh) -> Any:
    return jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
        tree,
        sharding.shardings(tree, mesh),
    )


def _step(
    graphdef: nnx.GraphDef[Any], structure: OptimConfig, state: TrainState, batch: BatchArrays, s: Scalars
) -> tuple[TrainState, Metrics]:
    response_tokens = count(batch.loss_mask_BT)
    loss, grads = _loss_and_gradients(
        graphdef, structure.accumulation_steps, state.params, batch, response_tokens
    )
    params, opt_state, update = optim.apply(structure, s, state.step, grads, state.opt_state, state.params)
    tokens = jnp.sum(batch.segment_ids_BT > 0)
    metrics = Metrics(loss, update.grad_norm, update.lr, tokens, response_tokens)
    return TrainState(params, opt_state, state.step + 1), metrics


def _loss_and_gradients(
    graphdef: nnx.GraphDef[Any], parts: int, params: Tree, batch: BatchArrays, response_tokens: jax.Array
) -> tuple[jax.Array, Tree]:
    """The mean over all response tokens of the batch and its gradient, computed `parts` slices at a time.

    Every slice is divided by the whole batch's tokens: every split of one batch gives the same update.
    """
    scale = 1 / jnp.maximum(response_tokens, 1).astype(jnp.float32)
    value_and_grad = jax.value_and_grad(
        lambda params, part: summed_nll(nnx.merge(graphdef, params), *part, scale)  # pyright: ignore
    )
    if parts == 1:
        return value_and_grad(params, batch)

    def add_part(total: Any, part: BatchArrays) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, value_and_grad(params, part)), None

    zero = jax.tree.map(jnp.zeros_like, params)
    slices = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), batch)
    total, _ = jax.lax.scan(add_part, (jnp.float32(0), zero), slices)
    return total
