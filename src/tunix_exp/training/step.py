"""One update as a pure compiled function of state, batch and scalars."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from tunix_exp.host_memory import small_pages
from tunix_exp.models import lora, sharding
from tunix_exp.models.adapter import AdapterConfig, LoRAConfig
from tunix_exp.models.hosts import put
from tunix_exp.objectives.objective import Batch, Held, Loss, Models, Policy, Summed
from tunix_exp.training import folding, optim
from tunix_exp.training.config import OptimConfig
from tunix_exp.training.optim import Scalars, Tree


class TrainState(NamedTuple):
    """All that training carries from one step to the next; which batch comes follows from `step`.

    `own` is the objective's: random keys, running means. What is frozen is no part of the state, but one more
    input of the step.
    """

    params: Tree
    opt_state: Tree
    step: jax.Array
    own: Tree = ()


class Metrics(NamedTuple):
    """Figures of one update, before the update was applied; `own` are the objective's, by name."""

    loss: jax.Array
    grad_norm: jax.Array
    lr: jax.Array
    tokens: jax.Array
    own: dict[str, jax.Array]


Step = Callable[[TrainState, Batch, Scalars], tuple[TrainState, Metrics]]

_DROPOUT_KEY, _ROUNDING_KEY = "dropout_key", "rounding_key"
_ROUNDING = 3  # folded into the seed, as the adapter's numbers are
_OWN = "objective."  # before the names of the objective's scalars


def step_scalars(
    config: OptimConfig,
    adapter: AdapterConfig,
    own: Mapping[str, float],
    *,
    total_steps: int,
    seed: int,
    stages: Sequence[int] = (),
) -> Scalars:
    """The numbers of the optimizer and of the objective (`own`) that may change without compiling again.

    Where chance drops inputs or rounds, the words of the key of `seed` are among them.
    """
    s = optim.scalars(config, total_steps=total_steps, stages=stages)
    s |= {_OWN + name: jnp.float32(value) for name, value in own.items()}
    if isinstance(adapter, LoRAConfig) and adapter.dropout > 0:
        s[_DROPOUT_KEY] = jax.random.key_data(jax.random.key(seed))
    if config.rounding == "stochastic":
        s[_ROUNDING_KEY] = jax.random.key_data(jax.random.key(seed))
    return s


def init_state(structure: OptimConfig, params: Tree, state_dtype: str, own: Tree = ()) -> TrainState:
    """The state before the first update; `own` is the objective's."""
    return TrainState(params, optim.init(structure, params, state_dtype), jnp.int32(0), own)


def placed_state(
    structure: OptimConfig, params: Tree, state_dtype: str, mesh: jax.sharding.Mesh, own: Tree = ()
) -> TrainState:
    """The state before the first update, each part where the mesh wants it; `params` lie there already."""
    state = jax.eval_shape(lambda p: init_state(structure, p, state_dtype), params)
    leaves, treedef = jax.tree.flatten(sharding.shardings(state.opt_state, mesh))
    init = _init(structure, state_dtype, treedef, tuple(leaves))  # pyright: ignore[reportArgumentType]
    with small_pages():
        opt_state = jax.block_until_ready(init(params))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    own = put(own, sharding.shardings(own, mesh))
    return TrainState(params, opt_state, put(jnp.int32(0), everywhere), own)


@functools.cache
def _init(structure: OptimConfig, state_dtype: str, treedef: Any, leaves: tuple[Any, ...]) -> Any:
    placed = jax.tree.unflatten(treedef, leaves)
    return jax.jit(functools.partial(optim.init, structure, state_dtype=state_dtype), out_shardings=placed)


@functools.cache
def make_step(graphdef: nnx.GraphDef[Any], structure: OptimConfig, loss: Loss) -> Any:
    """The jitted step for one architecture, optimizer structure and loss; the state's buffers are donated.

    It takes state, batch, scalars and what is held beside them. Cached, so that jobs of a sweep in one
    process share one compilation.
    """
    return jax.jit(functools.partial(_step, graphdef, structure, loss), donate_argnums=0)


def compile_step(
    graphdef: nnx.GraphDef[Any], structure: OptimConfig, loss: Loss, mesh: jax.sharding.Mesh, *arguments: Any
) -> Any:
    """The compiled step for `arguments`, those of `make_step`'s as ShapeDtypeStructs with shardings.

    One program for all jobs of this process that agree in it; `memory_analysis()` is the compiler's word.
    """
    leaves, treedef = jax.tree.flatten(arguments)
    kinds = tuple((leaf.shape, str(leaf.dtype), leaf.sharding) for leaf in leaves)
    return _compiled(graphdef, structure, loss, mesh, treedef, kinds)  # pyright: ignore[reportArgumentType]


@functools.cache
def _compiled(
    graphdef: nnx.GraphDef[Any],
    structure: OptimConfig,
    loss: Loss,
    mesh: jax.sharding.Mesh,
    treedef: Any,
    leaves: tuple[tuple[Any, str, Any], ...],
) -> Any:
    arguments = jax.tree.unflatten(
        treedef, [jax.ShapeDtypeStruct(shape, dtype, sharding=where) for shape, dtype, where in leaves]
    )
    # The new state lies where the old one lay, else the next call would not fit the program.
    placed = jax.tree.map(lambda leaf: leaf.sharding, arguments[0]), None
    step = jax.jit(
        functools.partial(_step, graphdef, structure, loss), donate_argnums=0, out_shardings=placed
    )
    with jax.set_mesh(mesh):
        return step.lower(*arguments).compile()


def abstract_arguments(
    structure: OptimConfig,
    params: Tree,
    batch: Batch,
    s: Scalars,
    *,
    mesh: jax.sharding.Mesh,
    state_dtype: str,
    held: Held = Held(),  # noqa: B008
    own: Tree = (),
) -> tuple[TrainState, Batch, Scalars, Held]:
    """State, batch, scalars and what is held, as placed shapes: all that compiling the step needs."""
    state = jax.eval_shape(lambda p: init_state(structure, p, state_dtype, own), params)
    return (
        sharding.placed_shapes(state, mesh),
        placed_batch(batch, mesh),
        sharding.placed_shapes(s, mesh),
        sharding.placed_shapes(held, mesh),
    )


def placed_batch(batch: Batch, mesh: jax.sharding.Mesh) -> Batch:
    """The batch's shapes, its examples split over the devices."""
    examples = jax.tree.leaves(batch)[0].shape[0]
    where = jax.sharding.NamedSharding(mesh, sharding.rows(mesh, examples))
    return jax.tree.map(lambda part: jax.ShapeDtypeStruct(part.shape, part.dtype, sharding=where), batch)


def _step(
    graphdef: nnx.GraphDef[Any],
    structure: OptimConfig,
    loss: Loss,
    state: TrainState,
    batch: Batch,
    s: Scalars,
    held: Held = Held(),  # noqa: B008
) -> tuple[TrainState, Metrics]:
    weights = loss.weigh(batch)
    folding.check_described(weights, loss.metrics, of="weigh")
    scales = {name: 1 / jnp.maximum(weight, 1).astype(jnp.float32) for name, weight in weights.items()}
    own_scalars = {name.removeprefix(_OWN): value for name, value in s.items() if name.startswith(_OWN)}
    key = None
    if _DROPOUT_KEY in s:
        key = jax.random.fold_in(jax.random.wrap_key_data(s[_DROPOUT_KEY]), state.step)

    def loss_of(params: Tree, part: Batch, rows_B: jax.Array) -> Summed:
        policy = Policy(graphdef, params, held)
        model = policy.model()
        if key is not None:
            lora.drop(model, key, rows_B)
        models = Models(model, policy.reference() if loss.has_reference else None)
        return loss.summed(models, part, scales, own_scalars)

    total, grads = _loss_and_gradients(loss_of, structure.accumulation_steps, loss, state.params, batch)
    rounding_key = None
    if _ROUNDING_KEY in s:
        rounding_key = jax.random.fold_in(jax.random.wrap_key_data(s[_ROUNDING_KEY]), _ROUNDING)
        rounding_key = jax.random.fold_in(rounding_key, state.step)
    params, opt_state, update = optim.apply(
        structure, s, state.step, grads, state.opt_state, state.params, rounding_key=rounding_key
    )
    own = weights | folding.settled(total.parts, loss.metrics)
    metrics = Metrics(total.loss, update.grad_norm, update.lr, loss.real_tokens(batch), own)
    return TrainState(params, opt_state, state.step + 1, state.own), metrics


def _loss_and_gradients(
    loss_of: Callable[[Tree, Batch, jax.Array], Summed],
    parts: int,
    loss: Loss,
    params: Tree,
    batch: Batch,
) -> tuple[Summed, Tree]:
    """The loss of the whole batch, its metrics' parts and its gradient, computed `parts` slices at a time.

    Every slice is divided by the whole batch's weight: every split of one batch gives the same update.
    """

    def value_and_grad(params: Tree, part: Batch, rows_B: jax.Array) -> tuple[Summed, Tree]:
        (value, of_metrics), grads = jax.value_and_grad(loss_of, has_aux=True)(params, part, rows_B)
        return Summed(value, of_metrics), grads

    rows_B = jnp.arange(loss.rows * jax.tree.leaves(batch)[0].shape[0])
    if parts == 1:
        return value_and_grad(params, batch, rows_B)

    def add_part(total: Any, part: tuple[Batch, jax.Array]) -> tuple[Any, None]:
        (so_far, sum_grads), (value, grads) = total, value_and_grad(params, *part)
        return (folding.added(so_far, value, loss.metrics), jax.tree.map(_added, sum_grads, grads)), None

    # In float32 whatever the parameters are in: a sum of slices keeps what each of them adds.
    zero = jax.tree.map(lambda x: jnp.zeros_like(x, jnp.float32), params)
    slices = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), (batch, rows_B))
    of_slice = jax.eval_shape(lambda p, all_: loss_of(p, *jax.tree.map(lambda x: x[0], all_)), params, slices)
    nothing = folding.nothing(of_slice, loss.metrics)
    total, _ = jax.lax.scan(add_part, (nothing, zero), slices)
    return total


def _added(so_far: jax.Array, x: jax.Array) -> jax.Array:
    return so_far + x.astype(so_far.dtype)
