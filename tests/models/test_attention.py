import jax
import jax.numpy as jnp
import numpy as np

from tunix_exp.models.attention import attend, visible


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
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_soft_cap_bounds_the_logits():
    q, k, v = (random(1, 3, 1, 4, seed=seed) * 100 for seed in range(3))
    visible_BTS = jnp.ones((1, 3, 3), bool)
    capped = attend(q, k, v, visible_BTS, scale=1.0, soft_cap=1e-6)
    np.testing.assert_allclose(capped, jnp.broadcast_to(v.mean(axis=1, keepdims=True), v.shape), rtol=1e-4)


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
