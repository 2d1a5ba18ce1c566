"""From an optim config to one update of the parameters.

A config falls into its structure, which is compiled, and its scalars, which are inputs of the compiled
step: a sweep over rates, decays or warm-ups compiles once (google-deepmind/optax#577).
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from zlib import crc32

import jax
import jax.numpy as jnp
import optax

from tunix_exp.models.paths import is_stacked, layer_paths, path_of
from tunix_exp.training.config import (
    AdafactorConfig,
    AdamWConfig,
    LionConfig,
    OptimConfig,
    SGDConfig,
)

Scalars = dict[str, jax.Array]
Tree = Any
"""A tree of arrays: parameters, gradients or moments."""

_SCALAR_FIELDS = (
    "peak_lr", "warmup_steps", "final_lr_ratio", "wsd_decay_fraction", "clip_norm", "weight_decay",
    "b1", "b2", "eps", "decay_rate", "clipping_threshold", "momentum",
)  # fmt: skip
_STAGE_ENDS = "stage_ends"
_MATRICES = ("kernel", "embedding", "lora", "weight")


def scalars(config: OptimConfig, *, total_steps: int, stages: Sequence[int] = ()) -> Scalars:
    """The numbers of `config` that may change without compiling again; float32 scalars.

    Of `stages`, of so many steps and each with a schedule of its own, also where they end.
    """
    values: dict[str, float] = {"total_steps": total_steps}
    for name in _SCALAR_FIELDS:
        if getattr(config, name, None) is not None:
            values[name] = getattr(config, name)
    s = {name: jnp.float32(value) for name, value in values.items()}
    if config.schedule_per == "stage":
        s[_STAGE_ENDS] = jnp.float32([min(end, total_steps) for end in itertools.accumulate(stages)])
    return s


def structure(config: OptimConfig) -> OptimConfig:
    """`config` with its scalars blanked: equal structures share one compiled step."""
    blanks = {n: 0 for n in _SCALAR_FIELDS if getattr(config, n, None) is not None}
    return config.model_copy(update=blanks)


def learning_rate(structure: OptimConfig, s: Scalars, step: jax.Array) -> jax.Array:
    """The rate of the update that follows `step` finished ones.

    A linear warm-up reaches the peak at `warmup_steps`; then, with t from 0 to 1 over the rest:
    constant 1; linear 1 - (1-f)t; cosine f + (1-f)(1 + cos πt)/2; wsd (warm-up, stable, decay) 1 until the
    last `wsd_decay_fraction` of all steps, then linear to f (Hu et al. 2024). With `schedule_per` stage
    all of this is of the stage that the step is in.
    """
    step, total = step.astype(jnp.float32), s["total_steps"]
    if _STAGE_ENDS in s:
        ends = s[_STAGE_ENDS]
        stage = jnp.minimum(jnp.sum(step >= ends), len(ends) - 1)
        begin = jnp.where(stage == 0, 0.0, ends[stage - 1])
        step, total = step - begin, ends[stage] - begin
    warmup = jnp.minimum(1.0, (step + 1) / jnp.maximum(s["warmup_steps"] + 1, 1))
    t = jnp.clip((step - s["warmup_steps"]) / jnp.maximum(total - s["warmup_steps"], 1), 0, 1)
    match structure.schedule:
        case "constant":
            shape = jnp.float32(1)
        case "linear":
            shape = 1 - (1 - s["final_lr_ratio"]) * t
        case "cosine":
            shape = s["final_lr_ratio"] + (1 - s["final_lr_ratio"]) * (1 + jnp.cos(math.pi * t)) / 2
        case "wsd":
            decay_steps = jnp.maximum(s["wsd_decay_fraction"] * total, 1)
            into = jnp.clip((step - (total - decay_steps)) / decay_steps, 0, 1)
            shape = 1 - (1 - s["final_lr_ratio"]) * into
    return s["peak_lr"] * warmup * shape


class Update(NamedTuple):
    """What one update did, for the log."""

    grad_norm: jax.Array
    lr: jax.Array


def init(structure: OptimConfig, params: Tree, state_dtype: str) -> Tree:
    """The optimizer's state before the first update, floats in `state_dtype`."""
    some = {name: jnp.float32(0.5) for name in _SCALAR_FIELDS}
    return _cast(_direction(structure, some).init(params), jnp.dtype(state_dtype))


def apply(
    structure: OptimConfig,
    s: Scalars,
    step: jax.Array,
    grads: Tree,
    state: Tree,
    params: Tree,
    *,
    rounding_key: jax.Array | None = None,
) -> tuple[Tree, Tree, Update]:
    """Parameters and optimizer state after one update; both are computed in float32.

    The gradient is clipped by its global norm, turned into a direction, joined by decoupled weight
    decay on the masked parameters, and scaled by the rate. What is held in bfloat16 is rounded to the nearest
    number, or with `rounding_key` by chance.
    """
    grads = _cast(grads, jnp.dtype("float32"))
    grad_norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(grads)))
    if "clip_norm" in s:
        grads = jax.tree.map(
            lambda g: g * jnp.minimum(1.0, s["clip_norm"] / jnp.maximum(grad_norm, 1e-30)), grads
        )
    updates, exact_state = _direction(structure, s).update(grads, _cast(state, jnp.dtype("float32")), params)
    new_state = _rounded(exact_state, like=state, key=rounding_key)
    lr = learning_rate(structure, s, step)
    mask = decay_mask(structure, params)
    decayed = jax.tree.map(
        lambda u, p, m: u + s["weight_decay"] * p.astype(jnp.float32) if m else u, updates, params, mask
    )
    exact = jax.tree.map(lambda p, u: p.astype(jnp.float32) - lr * u, params, decayed)
    return _rounded(exact, like=params, key=rounding_key), new_state, Update(grad_norm, lr)


def decay_mask(structure: OptimConfig, params: Tree) -> Tree:
    """True at the parameters that decay: all, or matrices and adapters (not norms and biases)."""
    if structure.decay_mask == "all":
        return jax.tree.map(lambda _: True, params)
    return jax.tree_util.tree_map_with_path(
        lambda path, _: any(name in jax.tree_util.keystr(path) for name in _MATRICES), params
    )


def _rounded(tree: Tree, *, like: Tree, key: jax.Array | None) -> Tree:
    """`tree` in the types of `like`: the nearest numbers, or with a `key` neighbours in bfloat16 by chance.

    Each neighbour comes by the chance that keeps the expectation (Gupta et al. 2015): an update too small for
    the type then moves a number rarely, but by enough, where rounding to the nearest always loses it. Chance
    depends on the key and on the number's place, not on a layer loop or a mesh.
    """
    if key is None:
        return jax.tree.map(lambda x, old: x.astype(old.dtype), tree, like)

    def leaf(keys: Any, x: jax.Array, old: jax.Array) -> jax.Array:
        if old.dtype != jnp.bfloat16:
            return x.astype(old.dtype)
        path = path_of(keys)
        kind = "".join(str(key) for key in keys if not isinstance(key, jax.tree_util.DictKey))
        stacked = is_stacked(path)
        names = layer_paths(path, x.shape[0]) if stacked else [path]
        words = jnp.array([crc32(f"{kind} {name}".encode()) for name in names], jnp.uint32)
        keys_L = jax.vmap(lambda word: jax.random.fold_in(key, word))(words)
        return jax.vmap(_by_chance)(keys_L, x) if stacked else _by_chance(keys_L[0], x)

    return jax.tree_util.tree_map_with_path(leaf, tree, like)


def _by_chance(key: jax.Array, x: jax.Array) -> jax.Array:
    # bfloat16 is the upper half of a float32; the lower half is the chance of the neighbour away from zero.
    bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32)
    noise = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
    upper = jax.lax.bitcast_convert_type(((bits + noise) >> 16).astype(jnp.uint16), jnp.bfloat16)
    return jnp.where(jnp.isfinite(x), upper, x.astype(jnp.bfloat16))


def _direction(structure: OptimConfig, s: Scalars) -> optax.GradientTransformation:
    match structure:
        case AdamWConfig():
            return _scale_by_adam(s["b1"], s["b2"], s["eps"])
        case AdafactorConfig():
            factored = optax.scale_by_factored_rms(
                decay_rate=s["decay_rate"],  # pyright: ignore
                min_dim_size_to_factor=structure.min_dim_size_to_factor,
                epsilon=s["eps"],  # pyright: ignore
            )
            if structure.clipping_threshold is None:
                return _layer_by_layer(factored)
            clipped = optax.clip_by_block_rms(s["clipping_threshold"])  # pyright: ignore
            return _layer_by_layer(optax.chain(factored, clipped))
        case LionConfig():
            return optax.scale_by_lion(b1=s["b1"], b2=s["b2"])  # pyright: ignore
        case SGDConfig():
            return optax.trace(decay=s["momentum"], nesterov=structure.nesterov)  # pyright: ignore


def _scale_by_adam(b1: jax.Array, b2: jax.Array, eps: jax.Array) -> optax.GradientTransformation:
    """`optax.scale_by_adam` with the second moment's term as ((1 - b2)·g)·g.

    Plain squares are what the gradient's norm sums, too, and XLA writes down what two readers share.
    """

    def update(grads: Tree, state: optax.ScaleByAdamState, params: Tree = None) -> tuple[Tree, Any]:
        del params
        count = state.count + 1
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, grads)
        nu = jax.tree.map(lambda v, g: b2 * v + ((1 - b2) * g) * g, state.nu, grads)
        unbias1, unbias2 = 1 - b1**count, 1 - b2**count
        updates = jax.tree.map(lambda m, v: (m / unbias1) / (jnp.sqrt(v / unbias2) + eps), mu, nu)
        return updates, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(optax.scale_by_adam().init, update)  # pyright: ignore


def _layer_by_layer(rule: optax.GradientTransformation) -> optax.GradientTransformation:
    """`rule`, which looks at shapes, for every layer alone, also where parameters hold all layers stacked."""
    return optax.GradientTransformation(_over_layers(rule.init), _over_layers(rule.update))  # pyright: ignore


def _over_layers(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of trees, mapped over the layers of their stacked leaves; other leaves it sees once."""

    def mapped(*trees: Tree) -> Tree:
        leaves, treedef = jax.tree.flatten(trees)
        axes = _layer_axes(trees)
        if 0 not in axes:
            return function(*trees)
        layer = [
            jax.ShapeDtypeStruct(leaf.shape if axis is None else leaf.shape[1:], leaf.dtype)
            for leaf, axis in zip(leaves, axes, strict=True)
        ]
        made = jax.eval_shape(function, *treedef.unflatten(layer))
        over_layers = jax.vmap(
            lambda leaves: jax.tree.leaves(function(*treedef.unflatten(leaves))),
            in_axes=(axes,),
            out_axes=_layer_axes(made),
        )
        return jax.tree.unflatten(jax.tree.structure(made), over_layers(leaves))

    return mapped


def _layer_axes(tree: Tree) -> list[int | None]:
    """Of every leaf the axis of its layers; `None` where it has none."""
    paths = [path_of(keys) for keys, _ in jax.tree_util.tree_leaves_with_path(tree)]
    return [0 if is_stacked(path) else None for path in paths]


def _cast(tree: Tree, dtype: jnp.dtype) -> Tree:
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)
