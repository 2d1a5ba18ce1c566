"""Who sees whom, and the attention itself.

Order is the order of slots, not of positions. Segment 0 is padding. A padding query sees padding keys, itself
among them, so that no row is fully masked.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from tunix_exp.models.kernels import Kernel
from tunix_exp.models.sharding import ROWS, row_shards

# Finite, as minus infinity makes NaN of a fully masked row; not the least float, as the soft-max subtracts.
MASKED = -0.7 * float(jnp.finfo(jnp.float32).max)


def visible(
    segment_ids_BT: Int[Array, "B T"], *, window: Int[Array, ""] | int | None = None
) -> Bool[Array, "B T T"]:
    """True where a key has the query's segment and is not later; `window` counts the token itself."""
    slots_T = jnp.arange(segment_ids_BT.shape[1])
    back_1TS = slots_T[None, :, None] - slots_T[None, None, :]
    seen_BTS = (segment_ids_BT[:, :, None] == segment_ids_BT[:, None, :]) & (back_1TS >= 0)
    return seen_BTS if window is None else seen_BTS & (back_1TS < window)


def attend_rows(
    q_BTNH: Float[Array, "B T N H"],
    k_BTKH: Float[Array, "B T K H"],
    v_BTKH: Float[Array, "B T K H"],
    segment_ids_BT: Int[Array, "B T"],
    *,
    kernel: Kernel,
    window: Int[Array, ""] | None,
    windows: tuple[int, ...],
    scale: float,
    soft_cap: float | None = None,
) -> Float[Array, "B T N H"]:
    """Soft-max attention of whole rows, a key head serving N/K query heads; logits and soft-max in float32.

    `window` is one of `windows` (ascending), all that the model has; None where all that came before is seen.
    """
    if kernel == "splash":
        widest = q_BTNH.shape[1]
        within: list[Callable[..., Array]] = [
            partial(_splash, window=None if w >= widest else w, scale=scale, soft_cap=soft_cap)
            for w in windows
        ]
        arguments = q_BTNH, k_BTKH, v_BTKH, segment_ids_BT
        if window is None or len(within) == 1:
            return within[-1](*arguments)
        # Its programs know their window when they are made: the layer chooses among them.
        return jax.lax.switch(jnp.searchsorted(jnp.array(windows), window), within, *arguments)
    visible_BTT = visible(segment_ids_BT, window=window)
    if kernel == "cudnn":
        return _cudnn(q_BTNH, k_BTKH, v_BTKH, visible_BTT, scale=scale)
    return attend(q_BTNH, k_BTKH, v_BTKH, visible_BTT, scale=scale, soft_cap=soft_cap)


def difference(
    kernel: Kernel, *, head_width: int, soft_cap: float | None, windows: tuple[int, ...], dtype: DTypeLike
) -> float:
    """By how much `kernel` differs here from the einsum, relative to the largest of its numbers.

    Output and gradients of two rows of 384 slots, one with padding and one of two segments, in the narrowest
    and the widest window.
    """
    keys = jax.random.split(jax.random.key(0), 3)
    q_BTNH, k_BTKH, v_BTKH = (
        jax.random.normal(key, (2, 384, heads, head_width), dtype)
        for key, heads in zip(keys, (2, 1, 1), strict=True)
    )
    segment_ids_BT = jnp.stack([jnp.arange(384) < 300, 1 + (jnp.arange(384) >= 100)]).astype(jnp.int32)

    @partial(jax.jit, static_argnums=0)
    def found(kernel: Kernel, window: Array) -> tuple[Array, Any]:
        def total(q_BTNH: Array, k_BTKH: Array, v_BTKH: Array) -> tuple[Array, Array]:
            y_BTNH = attend_rows(
                q_BTNH,
                k_BTKH,
                v_BTKH,
                segment_ids_BT,
                kernel=kernel,
                window=window,
                windows=windows,
                scale=head_width**-0.5,
                soft_cap=soft_cap,
            )
            y_BTNH = jnp.where((segment_ids_BT > 0)[..., None, None], y_BTNH, 0).astype(jnp.float32)
            return jnp.sum(jnp.sin(y_BTNH)), y_BTNH

        gradients, y_BTNH = jax.grad(total, (0, 1, 2), has_aux=True)(q_BTNH, k_BTKH, v_BTKH)
        return y_BTNH, gradients

    worst = 0.0
    for window in {windows[0], windows[-1]}:
        pairs = zip(
            *(jax.tree.leaves(found(k, jnp.asarray(window))) for k in ("einsum", kernel)), strict=True
        )
        for plain, other in pairs:
            plain, other = plain.astype(jnp.float32), other.astype(jnp.float32)
            worst = max(worst, float(jnp.max(jnp.abs(other - plain)) / jnp.max(jnp.abs(plain))))
    return worst


def _cudnn(
    q_BTNH: Array,
    k_BTKH: Array,
    v_BTKH: Array,
    visible_BTT: Array,
    *,
    scale: float,
    implementation: Literal["cudnn", "xla"] = "cudnn",
) -> Array:
    """cuDNN's, which wants an even number of slots; a slot that is added sees itself alone."""
    T = q_BTNH.shape[1]
    q_BTNH, k_BTKH, v_BTKH = (_lengthened(x, 2) for x in (q_BTNH, k_BTKH, v_BTKH))
    if T % 2:
        visible_BTT = jnp.pad(visible_BTT, ((0, 0), (0, 1), (0, 1))).at[:, T, T].set(True)
    y_BTNH = jax.nn.dot_product_attention(
        q_BTNH,
        k_BTKH,
        v_BTKH,
        mask=visible_BTT[:, None],
        scale=scale,
        is_causal=True,
        implementation=implementation,
    )
    return y_BTNH[:, :T]


def _splash(
    q_BTNH: Array,
    k_BTKH: Array,
    v_BTKH: Array,
    segment_ids_BT: Array,
    *,
    window: int | None,
    scale: float,
    soft_cap: float | None,
    interpret: bool = False,
) -> Array:
    """Splash attention, which wants a multiple of 128 slots; a device attends with its rows and heads."""
    from jax.experimental.pallas.ops.tpu import splash_attention as splash

    T = q_BTNH.shape[1]
    # It scales nothing; a scale that is a power of two, as of heads 64 or 256 wide, rounds nothing.
    q_BTNH = q_BTNH * jnp.asarray(scale, q_BTNH.dtype)
    q_BTNH, k_BTKH, v_BTKH, segment_ids_BT = (
        _lengthened(x, 128) for x in (q_BTNH, k_BTKH, v_BTKH, segment_ids_BT)
    )
    slots = q_BTNH.shape[1]
    block = next(size for size in (512, 256, 128) if slots % size == 0)
    sizes = splash.BlockSizes(
        **dict.fromkeys(
            ("block_q", "block_kv", "block_q_dkv", "block_kv_dkv", "block_q_dq", "block_kv_dq"), block
        )
    )

    def of_a_device(q_BTNH: Array, k_BTKH: Array, v_BTKH: Array, segment_ids_BT: Array) -> Array:
        seen = (
            splash.CausalMask((slots, slots))
            if window is None
            else splash.LocalMask((slots, slots), window_size=(window - 1, 0), offset=0)
        )
        kernel = splash.make_splash_mha(
            splash.MultiHeadMask([seen] * q_BTNH.shape[2]),
            head_shards=1,
            q_seq_shards=1,
            block_sizes=sizes,
            mask_value=MASKED,
            attn_logits_soft_cap=soft_cap,
            interpret=interpret,
        )
        segments = splash.SegmentIds(segment_ids_BT, segment_ids_BT)  # pyright: ignore[reportArgumentType]
        q_BNTH, k_BKTH, v_BKTH = (jnp.swapaxes(x, 1, 2) for x in (q_BTNH, k_BTKH, v_BTKH))
        y_BNTH: Any = jax.vmap(kernel)(q_BNTH, k_BKTH, v_BKTH, segments)
        return jnp.swapaxes(y_BNTH, 1, 2)

    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.empty and mesh.size > 1:
        rows = ROWS if row_shards(q_BTNH.shape[0]) > 1 else None
        heads = "tensor" if k_BTKH.shape[2] % mesh.shape["tensor"] == 0 else None
        apart = P(rows, None, heads)
        of_a_device = jax.shard_map(
            of_a_device, in_specs=(apart, apart, apart, P(rows)), out_specs=apart, check_vma=False
        )
    return of_a_device(q_BTNH, k_BTKH, v_BTKH, segment_ids_BT)[:, :T]


def _lengthened(x_BT: Array, multiple: int) -> Array:
    """`x_BT` with zeros behind its second axis, up to a multiple."""
    return jnp.pad(x_BT, ((0, 0), (0, -x_BT.shape[1] % multiple), *[(0, 0)] * (x_BT.ndim - 2)))


def attend(
    q_BTNH: Float[Array, "B T N H"],
    k_BSKH: Float[Array, "B S K H"],
    v_BSKH: Float[Array, "B S K H"],
    visible_BTS: Bool[Array, "B T S"],
    *,
    scale: float,
    soft_cap: float | None = None,
) -> Float[Array, "B T N H"]:
    """The plain form, with any soft cap and visibility; on CPU no other is faster."""
    B, T, N, H = q_BTNH.shape
    K = k_BSKH.shape[2]
    q_BTKGH = q_BTNH.reshape(B, T, K, N // K, H)
    y_BTKGH: Array = _attend(scale, soft_cap, q_BTKGH, k_BSKH, v_BSKH, visible_BTS)
    return y_BTKGH.reshape(B, T, N, H)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend(
    scale: float, soft_cap: float | None, q_BTKGH: Array, k_BSKH: Array, v_BSKH: Array, visible_BTS: Array
) -> Array:
    return _attend_fwd(scale, soft_cap, q_BTKGH, k_BSKH, v_BSKH, visible_BTS)[0]


def _attend_fwd(
    scale: float, soft_cap: float | None, q_BTKGH: Array, k_BSKH: Array, v_BSKH: Array, visible_BTS: Array
) -> tuple[Array, tuple[Array, ...]]:
    logits_BKGTS = _logits(scale, soft_cap, q_BTKGH, k_BSKH)
    logits_BKGTS = jnp.where(visible_BTS[:, None, None], logits_BKGTS, MASKED)
    weights_BKGTS = jax.nn.softmax(logits_BKGTS, axis=-1).astype(v_BSKH.dtype)
    y_BTKGH = jnp.einsum("bkgts,bskh->btkgh", weights_BKGTS, v_BSKH)
    return y_BTKGH, (q_BTKGH, k_BSKH, v_BSKH, weights_BKGTS, y_BTKGH)


def _attend_bwd(
    scale: float, soft_cap: float | None, saved: tuple[Array, ...], dy_BTKGH: Array
) -> tuple[Array, Array, Array, None]:
    """Gradients from the weights and the output alone (Dao et al. 2022, appendix B.2)."""
    q_BTKGH, k_BSKH, v_BSKH, weights_BKGTS, y_BTKGH = saved
    f32 = {"preferred_element_type": jnp.float32}
    dweights_BKGTS = jnp.einsum("btkgh,bskh->bkgts", dy_BTKGH, v_BSKH, **f32)
    mean_BTKG = jnp.einsum("btkgh,btkgh->btkg", dy_BTKGH, y_BTKGH, **f32)
    mean_BKGT1 = jnp.moveaxis(mean_BTKG, 1, -1)[..., None]
    dlogits_BKGTS = weights_BKGTS * (dweights_BKGTS - mean_BKGT1) * scale
    if soft_cap is not None:
        capped_BKGTS = _logits(scale, soft_cap, q_BTKGH, k_BSKH)
        dlogits_BKGTS *= 1 - jnp.square(capped_BKGTS / soft_cap)
    dlogits_BKGTS = dlogits_BKGTS.astype(q_BTKGH.dtype)
    return (
        jnp.einsum("bkgts,bskh->btkgh", dlogits_BKGTS, k_BSKH),
        jnp.einsum("bkgts,btkgh->bskh", dlogits_BKGTS, q_BTKGH),
        jnp.einsum("bkgts,btkgh->bskh", weights_BKGTS, dy_BTKGH),
        None,
    )


_attend.defvjp(_attend_fwd, _attend_bwd)


def _logits(scale: float, soft_cap: float | None, q_BTKGH: Array, k_BSKH: Array) -> Array:
    logits_BKGTS = jnp.einsum("btkgh,bskh->bkgts", q_BTKGH, k_BSKH, preferred_element_type=jnp.float32)
    logits_BKGTS *= scale
    return logits_BKGTS if soft_cap is None else jnp.tanh(logits_BKGTS / soft_cap) * soft_cap
