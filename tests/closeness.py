"""How far apart rounding may leave two computations of one number: the only source of tolerances for floats.

Each rounding moves a number by up to half a unit of its type, relative to the largest number that went into
it, up or down as good as at random: n of them by about sqrt(n) units. Another processor, another number of
devices or another program of the same formula fuses, splits and orders the same sums otherwise, and so ends
elsewhere within that. Four times as much is allowed: what a test is there to find is thousands of times more.
"""

from typing import Any

import jax
import ml_dtypes
import numpy as np

_MARGIN = 4.0


def relative_bound(roundings: int, dtype: str = "float32") -> float:
    """How far apart, relative to their magnitude, numbers may be that were rounded so many times in a row."""
    return _MARGIN * roundings**0.5 * float(ml_dtypes.finfo(dtype).eps)


def model_roundings(config: Any, tokens: int, *, passes: int = 1) -> int:
    """The roundings between a row of so many tokens and its logits: the terms of all sums on the way.

    Five sums of a layer are of about `width` terms (two norms; queries, keys or values; heads; the first
    product of the MLP), one of `mlp_width`, one of the tokens that attention gathers; the soft-max is of the
    vocabulary. A gradient takes three passes (each product forward has two backward), and so does each step
    of a training that begins from the numbers of the step before.
    """
    layer = 5 * config.width + config.mlp_width + tokens
    return passes * (config.num_layers * layer + config.vocab_size)


def assert_close(
    found: Any, expected: Any, *, roundings: int, of: Any = None, dtype: str = "float32"
) -> None:
    """Every leaf of `found` is its namesake in `expected`, up to the rounding of numbers of its magnitude.

    The magnitude is the largest in the leaf: what cancels is as exact as what it was made of, and as inexact.
    `of` says it where the leaf cannot, of all leaves together or element by element.
    """
    bound = relative_bound(roundings, dtype)

    def check(path: Any, one: Any, other: Any) -> None:
        one, other = (np.asarray(side, np.float64) for side in (one, other))
        magnitude = np.abs(other).max(initial=0.0) if of is None else np.asarray(of, np.float64)
        assert one.shape == other.shape, (jax.tree_util.keystr(path), one.shape, other.shape)
        assert np.isfinite(other).all(), jax.tree_util.keystr(path)
        with np.errstate(invalid="ignore"):
            excess = np.abs(one - other) - bound * magnitude
        worst = np.unravel_index(np.argmax(np.nan_to_num(excess, nan=np.inf)), excess.shape)
        assert (excess <= 0).all(), (
            f"at {jax.tree_util.keystr(path)}{list(map(int, worst))}: {one[worst]!r} and {other[worst]!r} are"
            f" {abs(one[worst] - other[worst]):.3g} apart, and {roundings} roundings explain"
            f" {bound:.3g} of {np.broadcast_to(magnitude, excess.shape)[worst]:.3g}"
        )

    jax.tree_util.tree_map_with_path(check, found, expected)


def assert_clear(logits_V: Any, *, roundings: int) -> None:
    """The largest of `logits_V` is ahead of the second by more than rounding: every processor chooses it."""
    second, best = np.sort(np.asarray(logits_V, np.float64))[-2:]
    assert best - second > 2 * relative_bound(roundings) * np.abs(logits_V).max(), (
        f"a tie but for rounding, {best} and {second}: choose another seed"
    )
