"""One update as a pure compiled function of state, batch and scalars."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from tunix_exp.host_memory import small_pages
from tunix_exp.models import lora, sharding
from tunix_exp.models.adapter import AdapterConfig, LoRAConfig
from tunix_exp.models.loss import count, summed_nll
from tunix_exp.training import optim
from tunix_exp.training.config import OptimConfig
from tunix_exp.training.optim import Scalars, Tree


class TrainState(NamedTuple):
    """All that training carries from one step to the next; the data position is `step` itself.

    What is frozen is no part of it, but one more input of the step.
    """

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

_DROPOUT_KEY, _ROUNDING_KEY = "dropout_key", "rounding_key"
_ROUNDING = 3  # folded into the seed, as the adapter's numbers are


def step_scalars(config: OptimConfig, adapter: AdapterConfig, *, total_steps: int, seed: int) -> Scalars:
    """The optimizer's numbers and, where chance drops inputs or rounds, the words of the key of `seed`."""
    s = optim.scalars(config, total_steps=total_steps)
    if isinstance(adapter, LoRAConfig) and adapter.dropout > 0:
        s[_DROPOUT_KEY] = jax.random.key_data(jax.random.key(seed))
    if config.rounding == "stochastic":
        s[_ROUNDING_KEY] = jax.random.key_data(jax.random.key(seed))
    return s


def init_state(structure: OptimConfig, params: Tree, state_dtype: str) -> TrainState:
    """The state before the first update."""
    return TrainState(params, optim.init(structure, params, state_dtype), jnp.int32(0))


def placed_state(
    structure: OptimConfig, params: Tree, state_dtype: str, mesh: jax.sharding.Mesh
) -> TrainState:
    """The state before the first update, each part where the mesh wants it; `params` lie there already."""
    state = jax.eval_shape(lambda p: init_state(structure, p, state_dtype), params)
    leaves, treedef = jax.tree.flatten(sharding.shardings(state.opt_state, mesh))
    init = _init(structure, state_dtype, treedef, tuple(leaves))  # pyright: ignore[reportArgumentType]
    with small_pages():
        opt_state = jax.block_until_ready(init(params))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    return TrainState(params, opt_state, jax.device_put(jnp.int32(0), everywhere))


@functools.cache
def _init(structure: OptimConfig, state_dtype: str, treedef: Any, leaves: tuple[Any, ...]) -> Any:
    placed = jax.tree.unflatten(treedef, leaves)
    return jax.jit(functools.partial(optim.init, structure, state_dtype=state_dtype), out_shardings=placed)


@functools.cache
def make_step(graphdef: nnx.GraphDef[Any], structure: OptimConfig) -> Any:
    """The jitted step for one architecture and one optimizer structure; the state's buffers are donated.

    It takes state, batch and scalars, and the frozen parameters where there are some. Cached, so that jobs of
    a sweep in one process share one compilation.
    """
    return jax.jit(functools.partial(_step, graphdef, structure), donate_argnums=0)


def compile_step(
    graphdef: nnx.GraphDef[Any], structure: OptimConfig, mesh: jax.sharding.Mesh, *arguments: Any
) -> Any:
    """The compiled step for `arguments`, those of `make_step`'s as ShapeDtypeStructs with shardings.

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
    arguments = jax.tree.unflatten(
        treedef, [jax.ShapeDtypeStruct(shape, dtype, sharding=where) for shape, dtype, where in leaves]
    )
    # The new state lies where the old one lay, else the next call would not fit the program.
    placed = jax.tree.map(lambda leaf: leaf.sharding, arguments[0]), None
    step = jax.jit(functools.partial(_step, graphdef, structure), donate_argnums=0, out_shardings=placed)
    with jax.set_mesh(mesh):
        return step.lower(*arguments).compile()


def abstract_arguments(
    structure: OptimConfig,
    params: Tree,
    s: Scalars,
    *,
    mesh: jax.sharding.Mesh,
    batch_shape: tuple[int, int],
    state_dtype: str,
    frozen: tuple[Tree, ...] = (),
) -> tuple[Any, ...]:
    """State, batch, scalars and frozen parameters as placed shapes: all that compiling the step needs."""
    state = jax.eval_shape(lambda p: init_state(structure, p, state_dtype), params)
    batch_sharding = jax.sharding.NamedSharding(mesh, sharding.rows(mesh, batch_shape[0]))
    kinds = (jnp.int32, jnp.int32, jnp.bool_)
    batch = BatchArrays(*(jax.ShapeDtypeStruct(batch_shape, kind, sharding=batch_sharding) for kind in kinds))
    return (
        sharding.placed_shapes(state, mesh),
        batch,
        sharding.placed_shapes(s, mesh),
        *sharding.placed_shapes(frozen, mesh),
    )


def _step(
    graphdef: nnx.GraphDef[Any],
    structure: OptimConfig,
    state: TrainState,
    batch: BatchArrays,
    s: Scalars,
    *frozen: Tree,
) -> tuple[TrainState, Metrics]:
    response_tokens = count(batch.loss_mask_BT)
    scale = 1 / jnp.maximum(response_tokens, 1).astype(jnp.float32)
    key = None
    if _DROPOUT_KEY in s:
        key = jax.random.fold_in(jax.random.wrap_key_data(s[_DROPOUT_KEY]), state.step)

    def loss_of(params: Tree, part: BatchArrays, rows_B: jax.Array) -> jax.Array:
        model = nnx.merge(graphdef, params, *frozen)
        if key is not None:
            lora.drop(model, key, rows_B)
        return summed_nll(model, *part, scale)  # pyright: ignore

    loss, grads = _loss_and_gradients(loss_of, structure.accumulation_steps, state.params, batch)
    rounding_key = None
    if _ROUNDING_KEY in s:
        rounding_key = jax.random.fold_in(jax.random.wrap_key_data(s[_ROUNDING_KEY]), _ROUNDING)
        rounding_key = jax.random.fold_in(rounding_key, state.step)
    params, opt_state, update = optim.apply(
        structure, s, state.step, grads, state.opt_state, state.params, rounding_key=rounding_key
    )
    tokens = jnp.sum(batch.segment_ids_BT > 0)
    metrics = Metrics(loss, update.grad_norm, update.lr, tokens, response_tokens)
    return TrainState(params, opt_state, state.step + 1), metrics


def _loss_and_gradients(
    loss_of: Callable[[Tree, BatchArrays, jax.Array], jax.Array],
    parts: int,
    params: Tree,
    batch: BatchArrays,
) -> tuple[jax.Array, Tree]:
    """The mean over all response tokens of the batch and its gradient, computed `parts` slices at a time.

    Every slice is divided by the whole batch's tokens: every split of one batch gives the same update.
    """
    value_and_grad = jax.value_and_grad(loss_of)
    rows_B = jnp.arange(batch.tokens_BT.shape[0])
    if parts == 1:
        return value_and_grad(params, batch, rows_B)

    def add_part(total: Any, part: tuple[BatchArrays, jax.Array]) -> tuple[Any, None]:
        of_part = value_and_grad(params, *part)
        return jax.tree.map(lambda so_far, x: so_far + x.astype(so_far.dtype), total, of_part), None

    # In float32 whatever the parameters are in: a sum of slices keeps what each of them adds.
    zero = jax.tree.map(lambda x: jnp.zeros_like(x, jnp.float32), params)
    slices = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), (batch, rows_B))
    total, _ = jax.lax.scan(add_part, (jnp.float32(0), zero), slices)
    return total
