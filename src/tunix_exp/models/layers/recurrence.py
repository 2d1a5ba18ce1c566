"""The recurrent block of Griffin (De et al. 2024): a short convolution and a gated linear recurrence.

Here D is the width of the recurrence, N its gates' blocks and I, O the inputs and outputs of one; W are the
taps of the convolution, and C the inputs that it keeps, one less. Whole rows and one token after another
compute the same, each segment as if it stood alone: neither convolution nor recurrence reaches back over its
first token.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from tunix_exp.models.layers.activations import gated_gelu
from tunix_exp.models.layers.cache import Next, Past, Rows
from tunix_exp.models.layers.dense import Dense, as_last_axis, parameter

# The power to which a fully open gate raises the decay (§2.4).
_POWER = 8.0
# As in the authors' code: without a bound the root's slope has no limit where nothing is forgotten.
_STEEPEST = 1000.0


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class State:
    """What a row of any length keeps: the last inputs of the convolution, and the recurrence's state."""

    inputs_BCD: Float[Array, "B C D"]
    h_BD: Float[Array, "B D"]  # float32


class Recurrence(nnx.Module):
    """`out(gelu(gate(x))·recurrence(convolution(input(x))))`; `dense(inputs, outputs)` makes the products."""

    def __init__(
        self,
        width: int,
        recurrence_width: int,
        *,
        num_blocks: int,
        taps: int,
        dense: Callable[..., Dense],
        std: float,
        param_dtype: DTypeLike,
        compute_dtype: DTypeLike,
    ) -> None:
        dtypes = {"param_dtype": param_dtype, "compute_dtype": compute_dtype}
        self.input = dense(width, recurrence_width, has_bias=True)
        self.gate = dense(width, recurrence_width, has_bias=True)
        self.out = dense(recurrence_width, width, has_bias=True)
        self.convolution = Convolution(recurrence_width, taps, std=std, **dtypes)
        self.unit = GatedUnit(recurrence_width, num_blocks, std=std, **dtypes)

    def __call__(
        self, x_BTD: Float[Array, "B T D"], past: Past
    ) -> tuple[Float[Array, "B T D"], State | None]:
        """What each token gathers from those before it, and the state behind the last one."""
        u_BTD = self.input(x_BTD)
        if isinstance(past, Next):
            state: State = past.kept
            window_BWD = jnp.concatenate([state.inputs_BCD, u_BTD], axis=1)
            h_BD = self.unit.following(self.convolution.last(window_BWD), state.h_BD)
            h_BTD, left = h_BD[:, None], State(window_BWD[:, 1:], h_BD)
        else:
            h_BTD = self.unit(self.convolution(u_BTD, past.segment_ids_BT), _starts(past.segment_ids_BT))
            left = self._state(u_BTD, h_BTD, past) if past.keeps else None
        return self.out(gated_gelu(self.gate(x_BTD), h_BTD.astype(u_BTD.dtype))), left

    def _state(self, u_BTD: Array, h_BTD: Array, rows: Rows) -> State:
        kept = self.convolution.taps[...].shape[0] - 1
        is_last_BT = rows.segment_ids_BT == rows.segment_ids_BT[:, -1:]
        u_BTD = jnp.where(is_last_BT[..., None], u_BTD, 0)
        u_BTD = jnp.pad(u_BTD, ((0, 0), (kept, 0), (0, 0)))
        return State(u_BTD[:, u_BTD.shape[1] - kept :], h_BTD[:, -1])


class Convolution(nnx.Module):
    """Each channel's weighted sum of a token and the W - 1 before it; the last tap is on the token itself."""

    def __init__(
        self, width: int, taps: int, *, std: float, param_dtype: DTypeLike, compute_dtype: DTypeLike
    ) -> None:
        self.taps = parameter((taps, 1, width), param_dtype, std=std)
        self.bias = parameter((width,), param_dtype)
        self.compute_dtype = jnp.dtype(compute_dtype)

    def __call__(
        self, u_BTD: Float[Array, "B T D"], segment_ids_BT: Int[Array, "B T"]
    ) -> Float[Array, "B T D"]:
        """The sums within each segment, in the compute dtype."""
        taps, T = self.taps[...].shape[0], u_BTD.shape[1]
        segments_BT = jnp.pad(segment_ids_BT, ((0, 0), (taps - 1, 0)), constant_values=-1)
        u_BTD = jnp.pad(u_BTD, ((0, 0), (taps - 1, 0), (0, 0)))
        within = [segments_BT[:, tap : tap + T] == segment_ids_BT for tap in range(taps)]
        return self._sum(
            [jnp.where(within[tap][..., None], u_BTD[:, tap : tap + T], 0) for tap in range(taps)]
        )

    def last(self, window_BWD: Float[Array, "B W D"]) -> Float[Array, "B D"]:
        """The sum at the last of W tokens."""
        return self._sum([window_BWD[:, tap] for tap in range(window_BWD.shape[1])])

    def _sum(self, inputs: list[Array]) -> Array:
        taps_WD = self.taps[...].astype(self.compute_dtype).astype(jnp.float32)[:, 0]
        summed = as_last_axis(self.bias[...].astype(self.compute_dtype).astype(jnp.float32), inputs[0])
        for u, tap_D in zip(inputs, taps_WD, strict=True):
            summed = summed + u.astype(jnp.float32) * as_last_axis(tap_D, u)
        return summed.astype(self.compute_dtype)


class GatedUnit(nnx.Module):
    """The real-gated linear recurrent unit, in float32: h_t = a_t·h_(t-1) + √(1 - a_t²)·i_t·u_t.

    The gates r and i are sigmoids of products with blocks of the channels; log a = -8·r·softplus(decay).
    """

    def __init__(
        self, width: int, num_blocks: int, *, std: float, param_dtype: DTypeLike, compute_dtype: DTypeLike
    ) -> None:
        block = width // num_blocks
        gate = (num_blocks, block, block)
        self.input_weight = parameter(gate, param_dtype, std=std)
        self.input_bias = parameter((num_blocks, block), param_dtype)
        self.decay_weight = parameter(gate, param_dtype, std=std)
        self.decay_bias = parameter((num_blocks, block), param_dtype)
        # Begins where a half-open gate remembers about three to twenty tokens.
        self.decay = parameter((width,), param_dtype, mean=-3.5, std=0.5)
        self.compute_dtype = jnp.dtype(compute_dtype)

    def __call__(self, u_BTD: Float[Array, "B T D"], starts_BT: Bool[Array, "B T"]) -> Float[Array, "B T D"]:
        """The states of whole rows, float32, which begin anew at `starts_BT`."""
        a_BTD, root_BTD, x_BTD = self._gated(u_BTD)
        starts_BT1 = starts_BT[..., None]
        return linear_recurrence(
            jnp.where(starts_BT1, 0, a_BTD), jnp.where(starts_BT1, x_BTD, root_BTD * x_BTD)
        )

    def following(self, u_BD: Float[Array, "B D"], h_BD: Float[Array, "B D"]) -> Float[Array, "B D"]:
        """The state behind one token more."""
        a_BD, root_BD, x_BD = self._gated(u_BD)
        return a_BD * h_BD + root_BD * x_BD

    def _gated(self, u: Array) -> tuple[Array, Array, Array]:
        """a, √(1 - a²) and i·u."""
        decay = as_last_axis(jax.nn.softplus(self.decay[...].astype(jnp.float32)), u)
        log_a = -_POWER * self._gate(u, self.decay_weight, self.decay_bias) * decay
        root = _bounded_root(-jnp.expm1(2 * log_a))
        return jnp.exp(log_a), root, self._gate(u, self.input_weight, self.input_bias) * u.astype(jnp.float32)

    def _gate(self, u: Array, weight: Any, bias: Any) -> Array:
        # Rounded to the compute dtype, as all weights are; then products and sums in float32.
        weight_NIO, bias_NO = (
            part[...].astype(self.compute_dtype).astype(jnp.float32) for part in (weight, bias)
        )
        blocks = u.astype(jnp.float32).reshape(*u.shape[:-1], *weight_NIO.shape[:2])
        gate = jnp.einsum("...ni,nio->...no", blocks, weight_NIO).reshape(u.shape)
        return jax.nn.sigmoid(gate + as_last_axis(bias_NO.reshape(-1), u))


@jax.custom_vjp
def linear_recurrence(a_BTD: Float[Array, "B T D"], x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    """h_t = a_t·h_(t-1) + x_t along T, from zero; in a number of steps that grows with log T (Blelloch 1990).

    Its gradient is a recurrence of the same kind from the other end: nothing but `a` and `h` is kept.
    """
    return _scanned(a_BTD, x_BTD)


def _linear_recurrence_bwd(saved: tuple[Array, Array], dh_BTD: Array) -> tuple[Array, Array]:
    a_BTD, h_BTD = saved
    next_BTD = jnp.pad(a_BTD[:, 1:], ((0, 0), (0, 1), (0, 0)))
    dx_BTD = _scanned(next_BTD, dh_BTD, reverse=True)
    return dx_BTD * jnp.pad(h_BTD[:, :-1], ((0, 0), (1, 0), (0, 0))), dx_BTD


def _linear_recurrence_fwd(a_BTD: Array, x_BTD: Array) -> tuple[Array, tuple[Array, Array]]:
    h_BTD = _scanned(a_BTD, x_BTD)
    return h_BTD, (a_BTD, h_BTD)


linear_recurrence.defvjp(_linear_recurrence_fwd, _linear_recurrence_bwd)


def _scanned(a_BTD: Array, x_BTD: Array, *, reverse: bool = False) -> Array:
    def after(one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
        return one[0] * other[0], other[0] * one[1] + other[1]

    return jax.lax.associative_scan(after, (a_BTD, x_BTD), reverse=reverse, axis=1)[1]


@jax.custom_jvp
def _bounded_root(x: Array) -> Array:
    return jnp.sqrt(x)


@_bounded_root.defjvp
def _bounded_root_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    root = jnp.sqrt(primals[0])
    return root, tangents[0] / jnp.maximum(2 * root, 1 / _STEEPEST)


def _starts(segment_ids_BT: Array) -> Array:
    """True at each segment's first token."""
    before_BT = jnp.pad(segment_ids_BT[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
    return segment_ids_BT != before_BT
