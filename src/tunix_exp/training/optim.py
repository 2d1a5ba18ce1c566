"""From an optim config to one update of the parameters.

A config falls into its structure, which is compiled, and its scalars, which are inputs of the compiled
step: a sweep over rates, decays or warm-ups compiles once (google-deepmind/optax#577).
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

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
_MATRICES = ("kernel", "embedding", "lora")


def scalars(config: OptimConfig, *, total_steps: int) -> Scalars:
    """The numbers of `config` that may change without compiling again; float32 scalars."""
    values: dict[str, float] = {"total_steps": total_steps}
    for name in _SCALAR_FIELDS:
        if getattr(config, name, None) is not None:
            values[name] = getattr(config, name)
    return {name: jnp.float32(value) for name, value in values.items()}


def structure(config: OptimConfig) -> OptimConfig:
    """`config` with its scalars blanked: equal structures share one compiled step."""
    blanks = {n: 0 for n in _SCALAR_FIELDS if getattr(config, n, None) is not None}
    return config.model_copy(update=blanks)


def learning_rate(structure: OptimConfig, s: Scalars, step: jax.Array) -> jax.Array:
    """The rate of the update that follows `step` finished ones.

    A linear warm-up reaches the peak at `warmup_steps`; then, with t from 0 to 1 over the rest:
    constant 1; linear 1 - (1-f)t; cosine f + (1-f)(1 + cos πt)/2; wsd (warm-up, stable, decay) 1 until the
    last `wsd_decay_fraction` of all steps, then linear to f (Hu et al. 2024).
    """
    step = step.astype(jnp.float32)
    warmup = jnp.minimum(1.0, (step + 1) / jnp.maximum(s["warmup_steps"] + 1, 1))
    t = jnp.clip((step - s["warmup_steps"]) / jnp.maximum(s["total_steps"] - s["warmup_steps"], 1), 0, 1)
    match structure.schedule:
        case "constant":
            shape = jnp.float32(1)
        case "linear":
            shape = 1 - (1 - s["final_lr_ratio"]) * t
        case "cosine":
            shape = s["final_lr_ratio"] + (1 - s["final_lr_ratio"]) * (1 + jnp.cos(math.pi * t)) / 2
        case "wsd":
            decay_steps = jnp.maximum(s["wsd_decay_fraction"] * s["total_steps"], 1)
            into = jnp.clip((step - (s["total_steps"] - decay_steps)) / decay_steps, 0, 1)
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
    structure: OptimConfig, s: Scalars, step: jax.Array, grads: Tree, state: Tree, params: Tree
) -> tuple[Tree, Tree, Update]:
    """Parameters and optimizer state after one update; moments are computed in float32.

    The gradient is clipped by its global norm, turned into a direction, joined by decoupled weight
    decay on the masked parameters, and scaled by the rate.
    """
    grads = _cast(grads, jnp.dtype("float32"))
    grad_norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(grads)))
    if "clip_norm" in s:
        grads = jax.tree.map(
            lambda g: g * jnp.minimum(1.0, s["clip_norm"] / jnp.maximum(grad_norm, 1e-30)), grads
        )
    kinds = jax.tree.map(lambda x: x.dtype, state)
    updates, new_state = _direction(structure, s).update(grads, _cast(state, jnp.dtype("float32")), params)
    new_state = jax.tree.map(lambda x, kind: x.astype(kind), new_state, kinds)
    lr = learning_rate(structure, s, step)
    mask = decay_mask(structure, params)
    decayed = jax.tree.map(
        lambda u, p, m: u + s["weight_decay"] * p.astype(jnp.float32) if m else u, updates, params, mask
    )
    new_params = jax.tree.map(lambda p, u: (p.astype(jnp.float32) - lr * u).astype(p.dtype), params, decayed)
    return new_params, new_state, Update(grad_norm, lr)


def decay_mask(structure: OptimConfig, params: Tree) -> Tree:
    """True at the parameters that decay: all, or kernels, embeddings, adapters (not norms and biases)."""
    if structure.decay_mask == "all":
        return jax.tree.map(lambda _: True, params)
    return jax.tree_util.tree_map_with_path(
        lambda path, _: any(name in jax.tree_util.keystr(path) for name in _MATRICES), params
    )


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
                return factored
            return optax.chain(factored, optax.clip_by_block_rms(s["clipping_threshold"]))  # pyright: ignore
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


def _cast(tree: Tree, dtype: jnp.dtype) -> Tree:
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)
