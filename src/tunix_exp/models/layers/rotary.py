"""Rotary positions (Su et al. 2021). One more axis letter: R, the rotary frequencies, at most H/2."""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


@dataclass(frozen=True, slots=True)
class Scaling:
    """How frequencies change for texts longer than the first training's (Grattafiori et al. 2024).

    A pair that turns less than `low` times within `num_positions` turns `factor` times slower, one that turns
    more than `high` times as before, and one between them in between.
    """

    factor: float
    low: float
    high: float
    num_positions: int

    def scaled(self, frequencies_R: Float[np.ndarray, " R"]) -> Float[np.ndarray, " R"]:
        """The frequencies as they are used."""
        turns_R = self.num_positions * frequencies_R / (2 * math.pi)
        kept_R = np.clip((turns_R - self.low) / (self.high - self.low), 0, 1)
        return frequencies_R * (kept_R + (1 - kept_R) / self.factor)


@dataclass(frozen=True, slots=True)
class Rotary:
    """The rotation of every layer, from its base; with None for a base the layer has none.

    `rotated_width` is how many of a head's channels are rotated: the first ones, or all. The
    angles of each layer are divided by its one of `factors_L` (position interpolation, Chen et al. 2023).
    """

    bases_L: tuple[float | None, ...]
    rotated_width: int
    scaling: Scaling | None = None
    factors_L: tuple[float, ...] | None = None

    def frequencies(self) -> Float[np.ndarray, "L R"]:
        """Each layer's angles per position: zero where nothing is rotated."""
        plain_LR = np.stack([self._of_layer(base) for base in self.bases_L])
        if self.factors_L is None:
            return plain_LR
        return plain_LR / np.array(self.factors_L, np.float32)[:, None]

    def _of_layer(self, base: float | None) -> Float[np.ndarray, " R"]:
        if base is None:
            return np.zeros(self.rotated_width // 2, np.float32)
        plain_R = frequencies(base, self.rotated_width)
        return (plain_R if self.scaling is None else self.scaling.scaled(plain_R)).astype(np.float32)


def frequencies(base: float, rotated_width: int) -> Float[np.ndarray, " R"]:
    """The angles per position of the pairs among H rotated channels: base^(-2i/H) (Su et al. 2021)."""
    return (base ** -(np.arange(0, rotated_width, 2) / rotated_width)).astype(np.float32)


def angles(positions_BT: Int[Array, "B T"], frequencies_R: Float[Array, " R"]) -> Float[Array, "B T R"]:
    """The angle of every pair at every position."""
    return positions_BT[..., None] * frequencies_R[None, None, :]


def rotated(x_BTNH: Float[Array, "B T N H"], angles_BTR: Float[Array, "B T R"]) -> Float[Array, "B T N H"]:
    """`x_BTNH` with the pair of channels i and i + R rotated by angle i, and those from 2R on as they are;
    computed in float32.
    """
    rotated_width = 2 * angles_BTR.shape[-1]
    if rotated_width < x_BTNH.shape[-1]:
        first_BTNH, rest_BTNH = jnp.split(x_BTNH, [rotated_width], axis=-1)
        return jnp.concatenate([rotated(first_BTNH, angles_BTR), rest_BTNH], axis=-1)
    cos_BT1R, sin_BT1R = jnp.cos(angles_BTR)[:, :, None], jnp.sin(angles_BTR)[:, :, None]
    one_BTNR, other_BTNR = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
    rotated_BTNH = jnp.concatenate(
        [one_BTNR * cos_BT1R - other_BTNR * sin_BT1R, other_BTNR * cos_BT1R + one_BTNR * sin_BT1R], axis=-1
    )
    return rotated_BTNH.astype(x_BTNH.dtype)
