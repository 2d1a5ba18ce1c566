"""Self-attention with rotary positions in which several query heads share one head of keys and values."""

from collections.abc import Callable
from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from tunix_exp.models.layers.cache import Past
from tunix_exp.models.layers.dense import Dense
from tunix_exp.models.layers.rotary import rotated


class GroupedAttention(nnx.Module):
    """Causal; `norm(head_width)` makes the norms of each head's queries and keys, None where there are none.

    With `has_bias` queries, keys and values have one each, with `has_out_bias` what is gathered has one.
    Logits are multiplied by `scale` and kept within the soft cap, where there is one.
    """

    def __init__(
        self,
        width: int,
        *,
        num_heads: int,
        num_key_heads: int,
        head_width: int,
        scale: float,
        soft_cap: float | None,
        has_bias: bool,
        has_out_bias: bool = False,
        dense: Callable[..., Dense],
        norm: Callable[[int], nnx.Module] | None,
    ) -> None:
        N, K, H = num_heads, num_key_heads, head_width
        self.query = dense(width, N * H, has_bias=has_bias)
        self.key = dense(width, K * H, has_bias=has_bias)
        self.value = dense(width, K * H, has_bias=has_bias)
        self.out = dense(N * H, width, has_bias=has_out_bias)
        self.query_norm: Any = None if norm is None else norm(H)
        self.key_norm: Any = None if norm is None else norm(H)
        self.head_width = H
        self.scale = scale
        self.soft_cap = soft_cap

    def __call__(
        self, x_BTD: Float[Array, "B T D"], angles_BTR: Float[Array, "B T R"], past: Past
    ) -> tuple[Float[Array, "B T D"], Any]:
        """What each token gathers from those it sees, and what is left for a cache."""
        B, T, _ = x_BTD.shape
        q_BTNH, k_BSKH, v_BSKH = (
            part(x_BTD).reshape(B, T, -1, self.head_width) for part in (self.query, self.key, self.value)
        )
        if self.query_norm is not None:
            q_BTNH, k_BSKH = self.query_norm(q_BTNH), self.key_norm(k_BSKH)
        q_BTNH, k_BSKH = rotated(q_BTNH, angles_BTR), rotated(k_BSKH, angles_BTR)
        y_BTNH, left = past.attend(q_BTNH, k_BSKH, v_BSKH, scale=self.scale, soft_cap=self.soft_cap)
        return self.out(y_BTNH.reshape(B, T, -1)), left
