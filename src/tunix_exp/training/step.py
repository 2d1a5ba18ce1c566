"""One update as a pure compiled function of state, batch and scalars."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from tunix_exp.models.loss import response_nll
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
    opt_state = _init(structure, state_dtype)(params)  # pyright: ignore[reportArgumentType]
    return TrainState(params, opt_state, jnp.int32(0))


@functools.cache
def _init(structure: OptimConfig, state_dtype: str) -> Any:
    return jax.jit(functools.partial(optim.init, structure, state_dtype=state_dtype))


@functools.cache
def make_step(graphdef: nnx.GraphDef[Any], structure: OptimConfig) -> Any:
    """The jitted step for one architecture and one optimizer structure; the state's buffers are donated.

    Cached, so that jobs of a sweep in one process share one compilation.
    """
    return jax.jit(functools.partial(_step, graphdef, structure), donate_argnums=0)


def compile_step(graphdef: nnx.GraphDef[Any], structure: OptimConfig, *arguments: Any) -> Any:
    """The compiled step for `arguments` (state, batch, scalars; arrays or ShapeDtypeStructs), ready to call.

    One program for all jobs of this process whose shapes agree; `memory_analysis()` is the compiler's word.
    """
    leaves, treedef = jax.tree.flatten(arguments)
    kinds = tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)
    return _compiled(graphdef, structure, treedef, kinds)  # pyright: ignore[reportArgumentType]


@functools.cache
def _compiled(
    graphdef: nnx.GraphDef[Any], structure: OptimConfig, treedef: Any, leaves: tuple[tuple[Any, str], ...]
) -> Any:
    shapes = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in leaves]
    step = make_step(graphdef, structure)  # pyright: ignore[reportArgumentType]
    return step.lower(*jax.tree.unflatten(treedef, shapes)).compile()


def _step(
    graphdef: nnx.GraphDef[Any], structure: OptimConfig, state: TrainState, batch: BatchArrays, s: Scalars
) -> tuple[TrainState, Metrics]:
    (nll, count), grads = _summed_gradients(graphdef, structure.accumulation_steps, state.params, batch)
    per_token = 1 / jnp.maximum(count, 1).astype(jnp.float32)
    grads = jax.tree.map(lambda g: g * per_token, grads)
    params, opt_state, update = optim.apply(structure, s, state.step, grads, state.opt_state, state.params)
    metrics = Metrics(nll * per_token, update.grad_norm, update.lr, jnp.sum(batch.segment_ids_BT > 0), count)
    return TrainState(params, opt_state, state.step + 1), metrics


def _summed_gradients(
    graphdef: nnx.GraphDef[Any], parts: int, params: Tree, batch: BatchArrays
) -> tuple[tuple[jax.Array, jax.Array], Tree]:
    """Loss and gradient summed over all response tokens of the batch, `parts` slices at a time.

    Sums, not means of means: every split of one batch gives the same update.
    """

    def summed_nll(params: Tree, part: BatchArrays) -> tuple[jax.Array, jax.Array]:
        nll_B, count_B = response_nll(nnx.merge(graphdef, params), *part)
        return jnp.sum(nll_B), jnp.sum(count_B)

    value_and_grad = jax.value_and_grad(summed_nll, has_aux=True)
    if parts == 1:
        return value_and_grad(params, batch)

    def add_part(total: Any, part: BatchArrays) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, value_and_grad(params, part)), None

    zero = jax.tree.map(jnp.zeros_like, params)
    slices = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), batch)
    total, _ = jax.lax.scan(add_part, ((jnp.float32(0), jnp.int32(0)), zero), slices)
    return total
