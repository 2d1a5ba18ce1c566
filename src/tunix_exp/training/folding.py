"""Metrics of a batch's slices, folded into those of the batch."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tunix_exp.objectives.metric import Averaged, Metric
from tunix_exp.objectives.objective import Summed


def nothing(like: Summed, metrics: tuple[Metric, ...]) -> Summed:
    """What a fold begins with, in the shapes of `like`."""

    def start(part: Any, averaged: Averaged) -> Any:
        return jax.tree.map(lambda leaf: _least(leaf) if averaged == "max" else jnp.zeros_like(leaf), part)

    how = _how(like.parts, metrics)
    parts = {name: start(part, how[name]) for name, part in like.parts.items()}
    return Summed(jnp.float32(0), parts)


def added(so_far: Summed, value: Summed, metrics: tuple[Metric, ...]) -> Summed:
    """The fold with one more slice in it."""

    def both(one: Any, other: Any, averaged: Averaged) -> Any:
        match averaged:
            case "mean" | "sum":
                return jax.tree.map(jnp.add, one, other)
            case "max":
                return jax.tree.map(jnp.maximum, one, other)
            case "last":
                return other

    how = _how(value.parts, metrics)
    parts = {name: both(so_far.parts[name], part, how[name]) for name, part in value.parts.items()}
    return Summed(so_far.loss + value.loss.astype(jnp.float32), parts)


def settled(parts: Mapping[str, Any], metrics: tuple[Metric, ...]) -> dict[str, jax.Array]:
    """The figures of the batch: a mean is its sum over its weight, and 0 where nothing weighs."""
    how = _how(parts, metrics)
    figures = {}
    for name, part in parts.items():
        if how[name] == "mean":
            total, weight = part
            part = jnp.where(weight == 0, 0.0, total / jnp.where(weight == 0, 1, weight))
        figures[name] = part
    return figures


def present(figures: Mapping[str, float], metrics: tuple[Metric, ...]) -> dict[str, float]:
    """The figures without those that the batch has nothing of."""
    counts = {metric.name: metric.counted_by for metric in metrics}
    return {
        name: value
        for name, value in figures.items()
        if (count := counts[name]) is None or figures[count] != 0
    }


def _least(like: Any) -> jax.Array:
    is_float = jnp.issubdtype(like.dtype, jnp.floating)
    return jnp.full(like.shape, -jnp.inf if is_float else jnp.iinfo(like.dtype).min, like.dtype)


def check_described(figures: Mapping[str, Any], metrics: tuple[Metric, ...], *, of: str) -> None:
    """Every figure is a metric; one that is not is a mistake of the objective's author."""
    if stray := figures.keys() - {metric.name for metric in metrics}:
        raise KeyError(f"{of} gives {sorted(stray)}, which METRICS does not describe")


def _how(parts: Mapping[str, Any], metrics: tuple[Metric, ...]) -> dict[str, Averaged]:
    """How each part is averaged."""
    check_described(parts, metrics, of="the loss")
    return {metric.name: metric.averaged for metric in metrics}
