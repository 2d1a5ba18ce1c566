import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tunix_exp.models.layers import Embedding
from tunix_exp.models.loss import num_chunks, positions_of, response_nll, token_nll

B, T, D, V = 2, 10, 4, 37


class Unembedding(nnx.Module):
    """The end of a model: a tied table and, as in Gemma 2, a soft cap."""

    def __init__(self, soft_cap: float | None) -> None:
        self.table = Embedding(
            V, D, std=1.0, param_dtype=jnp.float32, compute_dtype=jnp.float32, rngs=nnx.Rngs(0)
        )
        self.soft_cap = soft_cap
        self.vocab_size = V

    def hidden(self, tokens_BT, positions_BT, segment_ids_BT, cache=None):
        return self.table(tokens_BT) + 0.1 * positions_BT[..., None], cache

    def logits(self, x_BTD):
        logits_BTV = self.table.logits(x_BTD)
        return logits_BTV if self.soft_cap is None else jnp.tanh(logits_BTV / self.soft_cap) * self.soft_cap


def batch():
    tokens_BT = jax.random.randint(jax.random.key(1), (B, T), 0, V)
    segment_ids_BT = jnp.array([[1] * T, [1] * 7 + [0] * 3])
    loss_mask_BT = (segment_ids_BT == 1) & (jnp.arange(T) >= 3)[None]
    return tokens_BT, segment_ids_BT, loss_mask_BT


def by_hand(model, tokens_BT, segment_ids_BT, loss_mask_BT):
    """One token at a time, from all logits, in the order of the definition."""
    x_BTD, _ = model.hidden(tokens_BT, positions_of(segment_ids_BT), segment_ids_BT)
    log_p_BTV = jax.nn.log_softmax(model.logits(x_BTD), axis=-1)
    rows = []
    for row in range(B):
        marked = [t for t in range(1, T) if loss_mask_BT[row, t]]
        rows.append(sum(-log_p_BTV[row, t - 1, tokens_BT[row, t]] for t in marked))
    return jnp.stack(rows)


@pytest.mark.parametrize("soft_cap", [None, 3.0])
@pytest.mark.parametrize("chunk_logits", [10**9, B * T * V // 2, B * T * V // 5, B * 3 * V, 1])
def test_values_and_gradients_are_those_of_the_definition(soft_cap, chunk_logits):
    graphdef, params = nnx.split(Unembedding(soft_cap))

    def loss(params, nll_of):
        nll_B = nll_of(nnx.merge(graphdef, params), *batch())
        return (nll_B * jnp.array([1.0, 2.0])).sum(), nll_B

    def chunked(model, *batch):
        return response_nll(model, *batch, chunk_logits=chunk_logits)[0]

    (_, expected_B), expected = jax.value_and_grad(loss, has_aux=True)(params, by_hand)
    (_, nll_B), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)(params, chunked)
    np.testing.assert_allclose(nll_B, expected_B, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), gradients, expected)


def test_the_count_is_that_of_the_marked_tokens_that_have_a_token_before_them():
    tokens_BT, segment_ids_BT, _ = batch()
    _, count_B = response_nll(Unembedding(None), tokens_BT, segment_ids_BT, segment_ids_BT == 1)
    assert count_B.tolist() == [T - 1, 6]


def largest(jaxpr):
    """The elements of the largest array that a program computes, at whatever depth."""
    sizes = [0]
    for equation in jaxpr.eqns:
        sizes += [value.aval.size for value in equation.outvars]
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns") or hasattr(p, "jaxpr")
        ):
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                sizes.append(largest(inner.jaxpr if hasattr(inner, "jaxpr") else inner))
    return max(sizes)


def test_no_more_logits_than_a_chunk_s_exist_forward_or_backward():
    graphdef, params = nnx.split(Unembedding(3.0))
    x_BTD, target_BT = jnp.ones((B, 64, D)), jnp.ones((B, 64), jnp.int32)

    def program(chunk_logits):
        def loss(params, x_BTD):
            model = nnx.merge(graphdef, params)
            return token_nll(model, x_BTD, target_BT, chunk_logits=chunk_logits).sum()

        return jax.make_jaxpr(jax.value_and_grad(loss, argnums=(0, 1)))(params, x_BTD).jaxpr

    assert largest(program(10**9)) == B * 64 * V
    assert largest(program(B * 16 * V)) == B * 16 * V


@pytest.mark.parametrize(
    ("shape", "chunk_logits", "chunks"),
    [
        ((64, 56, 257), 2**28, 1),
        ((8, 2048, 256_000), 2**28, 16),
        ((8, 2048, 262_144), 2**28, 16),
        ((2, 8, 10), 160, 1),
        ((2, 8, 10), 159, 2),
        ((2, 8, 10), 60, 4),
        ((2, 8, 10), 1, 8),
    ],
)
def test_the_number_of_chunks_is_a_power_of_two_that_keeps_the_limit(shape, chunk_logits, chunks):
    assert num_chunks(*shape, chunk_logits) == chunks


def test_positions_begin_anew_in_every_segment():
    segment_ids_BT = jnp.array([[1, 1, 2, 2, 2, 0], [0, 0, 1, 1, 1, 1]])
    assert positions_of(segment_ids_BT).tolist() == [[0, 1, 0, 1, 2, 0], [0, 1, 0, 1, 2, 3]]
