from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.closeness import assert_close, relative_bound
from tunix_exp.models.layers import attention
from tunix_exp.models.layers.attention import attend, attend_rows, difference, visible


def random(*shape, seed=0, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(seed), shape, dtype)


def test_a_key_is_seen_if_it_has_the_same_segment_and_is_not_later():
    segment_ids_BT = jnp.array([[0, 1, 1, 2]])
    seen_BTS = visible(segment_ids_BT)
    expected = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_array_equal(seen_BTS[0], np.array(expected, bool))


def test_a_window_counts_the_token_itself():
    segment_ids_BT = jnp.ones((1, 4), jnp.int32)
    seen_BTS = visible(segment_ids_BT, window=2)
    expected = [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    np.testing.assert_array_equal(seen_BTS[0], np.array(expected, bool))


def test_attention_agrees_with_jax_and_shares_key_heads():
    q, k, v = random(2, 5, 4, 8), random(2, 7, 2, 8, seed=1), random(2, 7, 2, 8, seed=2)
    visible_BTS = jax.random.bernoulli(jax.random.key(3), 0.5, (2, 5, 7)).at[:, :, 0].set(True)
    ours = attend(q, k, v, visible_BTS, scale=0.3)
    theirs = jax.nn.dot_product_attention(q, k, v, mask=visible_BTS[:, None], scale=0.3)
    assert_close(ours, theirs, roundings=8 + 7)


def test_a_soft_cap_bounds_the_logits():
    q, k, v = (random(1, 3, 1, 4, seed=seed) * 100 for seed in range(3))
    visible_BTS = jnp.ones((1, 3, 3), bool)
    capped = attend(q, k, v, visible_BTS, scale=1.0, soft_cap=1e-9)
    assert_close(capped, jnp.broadcast_to(v.mean(axis=1, keepdims=True), v.shape), roundings=3)


def test_a_fully_masked_row_is_finite_and_has_a_finite_gradient():
    q, k, v = (random(1, 2, 1, 4, seed=seed) for seed in range(3))
    nothing = jnp.zeros((1, 2, 2), bool)
    value, gradient = jax.value_and_grad(lambda q: attend(q, k, v, nothing, scale=1.0).sum())(q)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_logits_and_soft_max_are_float32_when_computing_in_bfloat16():
    q, k, v = (random(1, 3, 1, 4, seed=seed, dtype=jnp.bfloat16) for seed in range(3))
    text = str(jax.make_jaxpr(lambda: attend(q, k, v, jnp.ones((1, 3, 3), bool), scale=1.0))())
    assert "exp" in text
    for line in text.splitlines():
        if any(f" = {name} " in line for name in ("exp", "tanh", "div", "reduce_max", "reduce_sum")):
            assert "bf16" not in line, line


# Two rows: one with padding behind, one of two segments.
SEGMENTS_BT = jnp.array([[1] * 90 + [0] * 41, [1] * 70 + [2] * 61])


def whole(function, *, width, seed=0):
    """Output and gradients of `function` on four query heads and two key heads, padding left out."""
    q, k, v = (random(2, 131, heads, width, seed=seed + i) for i, heads in enumerate((4, 2, 2)))

    def total(q, k, v):
        y = jnp.where((SEGMENTS_BT > 0)[..., None, None], function(q, k, v), 0)
        return jnp.sum(jnp.sin(y)), y

    gradients, y = jax.grad(total, (0, 1, 2), has_aux=True)(q, k, v)
    return [y, *gradients]


def test_what_cudnn_is_asked_is_what_the_einsum_computes_for_an_odd_number_of_slots():
    seen = visible(SEGMENTS_BT, window=50)
    asked = partial(attention._cudnn, visible_BTT=seen, scale=0.3, implementation="xla")
    plain = partial(attend, visible_BTS=seen, scale=0.3)
    assert_close(whole(asked, width=8), whole(plain, width=8), roundings=3 * (8 + 131))


def test_every_slot_that_cudnn_is_given_sees_one_at_least(monkeypatch):
    masks = []
    honest = jax.nn.dot_product_attention
    monkeypatch.setattr(
        jax.nn,
        "dot_product_attention",
        lambda *a, mask, **more: masks.append(mask) or honest(*a, mask=mask, **more),
    )
    q, k, v = random(1, 3, 2, 8), random(1, 3, 1, 8, seed=1), random(1, 3, 1, 8, seed=2)
    attention._cudnn(q, k, v, visible(jnp.ones((1, 3), jnp.int32)), scale=0.3, implementation="xla")
    assert masks[0].shape == (1, 1, 4, 4)
    assert masks[0].any(axis=-1).all()


@pytest.mark.parametrize(("window", "soft_cap"), [(None, None), (50, 2.0)])
def test_splash_attention_is_the_einsum_for_any_number_of_slots(window, soft_cap):
    asked = partial(
        attention._splash,
        segment_ids_BT=SEGMENTS_BT, window=window, scale=0.25, soft_cap=soft_cap, interpret=True,
    )  # fmt: skip
    plain = partial(attend, visible_BTS=visible(SEGMENTS_BT, window=window), scale=0.25, soft_cap=soft_cap)
    assert_close(whole(asked, width=128), whole(plain, width=128), roundings=3 * (128 + 131))


def test_a_layer_s_window_chooses_among_the_programs_of_splash_attention(monkeypatch):
    def named(q_BTNH, *_, window, scale, soft_cap):
        return q_BTNH + (0 if window is None else window)

    monkeypatch.setattr(attention, "_splash", named)
    q = jnp.zeros((2, 131, 1, 1))
    for window, added in ((7, 7), (99, 99), (4096, 0)):
        of_layer = jax.jit(
            lambda window: attend_rows(
                q, q, q, SEGMENTS_BT, kernel="splash", window=window, windows=(7, 99, 4096), scale=1.0
            )
        )
        np.testing.assert_array_equal(of_layer(window), q + added)


def test_a_kernel_that_computes_something_else_is_found_out(monkeypatch):
    settings = {"head_width": 8, "soft_cap": None, "windows": (50, 4096), "dtype": jnp.float32}
    assert difference("einsum", **settings) == 0
    honest = attention._cudnn
    monkeypatch.setattr(attention, "_cudnn", partial(honest, implementation="xla"))
    assert difference("cudnn", **settings) < relative_bound(3 * (8 + 384))
    monkeypatch.setattr(
        attention, "_cudnn", lambda *arrays, scale: honest(*arrays, scale=1.1 * scale, implementation="xla")
    )
    assert difference("cudnn", **settings) > 0.02


@pytest.mark.parametrize("wide", [False, True])
def test_a_kernel_that_is_wrong_in_one_of_a_model_s_windows_is_found_out(wide, monkeypatch):
    honest = attention._cudnn

    def wrong(*arrays, scale):
        is_wide = arrays[-1].sum(axis=-1).max() > 50
        return honest(*arrays, scale=scale, implementation="xla") * jnp.where(is_wide == wide, 1.1, 1.0)

    monkeypatch.setattr(attention, "_cudnn", wrong)
    settings = {"head_width": 8, "soft_cap": None, "windows": (50, 4096), "dtype": jnp.float32}
    assert difference("cudnn", **settings) > 0.02
