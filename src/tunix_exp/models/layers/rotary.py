"""Rotary positions (Su et al. 2021). One more axis letter: R, the H/2 rotary frequencies."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


@dataclass(frozen=True, slots=True)
class Rotary:
    """The rotation of every layer, from its base."""

    bases_L: tuple[float, ...]
    head_width: int

    def frequencies(self) -> Float[np.ndarray, "L R"]:
        """Each layer's angles per position."""
        return np.stack([frequencies(base, self.head_width) for base in self.bases_L])


def frequencies(base: float, head_width: int) -> Float[np.ndarray, " R"]:
    """The angles per position of the H/2 pairs: base^(-2i/H) (Su et al. 2021)."""
    return (base ** -(np.arange(0, head_width, 2) / head_width)).astype(np.float32)


def angles(positions_BT: Int[Array, "B T"], frequencies_R: Float[Array, " R"]) -> Float[Array, "B T R"]:
    """The angle of every pair at every position."""
    return positions_BT[..., None] * frequencies_R[None, None, :]


def rotated(x_BTNH: Float[Array, "B T N H"], angles_BTR: Float[Array, "B T R"]) -> Float[Array, "B T N H"]:
    """`x_BTNH` with the pair of channels i and i + H/2 rotated by angle i; computed in float32."""
    cos_BT1R, sin_BT1R = jnp.cos(angles_BTR)[:, :, None], jnp.sin(angles_BTR)[:, :, None]
    one_BTNR, other_BTNR = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
    rotated_BTNH = jnp.concatenate(
        [one_BTNR * cos_BT1R - other_BTNR * sin_BT1R, other_BTNR * cos_BT1R + one_BTNR * sin_BT1R], axis=-1
    )
    return rotated_BTNH.astype(x_BTNH.dtype)
