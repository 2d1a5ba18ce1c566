import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from tests.closeness import assert_close
from tunix_exp.models.layers.embedding import Embedding, Unembedding
from tunix_exp.models.loss import (
    continuation_scores,
    count,
    each_nll,
    first_best,
    positions_of,
    response_nll,
    summed_and_rows_nll,
    summed_nll,
)
from tunix_exp.models.loss_chunk import LossChunk

B, T, D, V = 2, 10, 4, 37


class Ends(nnx.Module):
    """A model without blocks: a tied table and, as in Gemma 2, a soft cap."""

    def __init__(self, soft_cap: float | None, logits: int = 2**25, words: int | None = V) -> None:
        self.table = Embedding(V, D, std=1.0, param_dtype=jnp.float32, compute_dtype=jnp.float32)
        self.table.embedding[...] = jax.random.normal(jax.random.key(0), (V, D))
        self.unembedding = Unembedding(jnp.dtype("float32"), soft_cap)
        self.vocab_size = V
        self.loss_chunk = LossChunk(logits // V, words)

    def embed(self, tokens_BT, positions_BT):
        x_BTD, table_VD = self.table.read(tokens_BT)
        return x_BTD + 0.1 * positions_BT[..., None], table_VD

    def decode(self, x_BTD, positions_BT, segment_ids_BT, cache=None):
        return jnp.sin(x_BTD), cache


def batch():
    tokens_BT = jax.random.randint(jax.random.key(1), (B, T), 0, V)
    segment_ids_BT = jnp.array([[1] * T, [1] * 7 + [0] * 3])
    loss_mask_BT = (segment_ids_BT == 1) & (jnp.arange(T) >= 3)[None]
    return tokens_BT, segment_ids_BT, loss_mask_BT


def by_hand(model, tokens_BT, segment_ids_BT, loss_mask_BT):
    """One token at a time, from all logits, in the order of the definition."""
    positions_BT = positions_of(segment_ids_BT)
    x_BTD = jnp.sin(model.table(tokens_BT) + 0.1 * positions_BT[..., None])
    logits_BTV = x_BTD @ model.table.embedding[...].T
    if model.unembedding.soft_cap:
        logits_BTV = jnp.tanh(logits_BTV / model.unembedding.soft_cap) * model.unembedding.soft_cap
    log_p_BTV = jax.nn.log_softmax(logits_BTV, axis=-1)
    rows = []
    for row in range(B):
        marked = [t for t in range(1, T) if loss_mask_BT[row, t]]
        rows.append(sum(-log_p_BTV[row, t - 1, tokens_BT[row, t]] for t in marked))
    return jnp.stack(rows)


LIMITS = [10**9, B * T * V // 2, 6 * V, 3 * V, 1]


@pytest.mark.parametrize("soft_cap", [None, 3.0])
@pytest.mark.parametrize(
    ("chunk_logits", "words"), [*((limit, V) for limit in LIMITS), (6 * V, 10), (6 * V, None)]
)
def test_values_and_gradients_are_those_of_the_definition(soft_cap, chunk_logits, words):
    graphdef, params = nnx.split(Ends(soft_cap, chunk_logits, words))

    def expected(params):
        nll_B = by_hand(nnx.merge(graphdef, params), *batch())
        return 0.5 * nll_B.sum(), nll_B

    def chunked(params):
        model = nnx.merge(graphdef, params)
        return summed_nll(model, *batch(), 0.5)

    (_, expected_B), wanted = jax.value_and_grad(expected, has_aux=True)(params)
    nll_B, _ = response_nll(nnx.merge(graphdef, params), *batch())
    total, gradients = jax.jit(jax.value_and_grad(chunked))(params)
    found, half = (nll_B, total, chunked(params)), 0.5 * expected_B.sum()
    assert_close(found, (expected_B, half, half), roundings=D + V + T)
    assert_close(gradients, wanted, roundings=3 * (D + V + T))


@pytest.mark.parametrize("chunk_logits", LIMITS)
@pytest.mark.parametrize("is_frozen", [False, True])
def test_any_function_of_each_token_s_likelihood_has_the_gradients_of_the_definition(chunk_logits, is_frozen):
    graphdef, params = nnx.split(Ends(3.0, chunk_logits))
    tokens_BT, segment_ids_BT, loss_mask_BT = batch()

    def unlikelihood(nll_BT):
        return jnp.sum(jnp.where(loss_mask_BT, -jnp.log1p(-jnp.exp(-nll_BT)), 0.0))

    def expected(params, shift):
        model = nnx.merge(graphdef, params)
        positions_BT = positions_of(segment_ids_BT)
        x_BTD = jnp.sin(model.table(tokens_BT) + 0.1 * positions_BT[..., None] + shift)
        logits_BTV = jnp.tanh(x_BTD @ model.table.embedding[...].T / 3.0) * 3.0
        log_p_BTV = jax.nn.log_softmax(logits_BTV, axis=-1)[:, :-1]
        nll_BT = -jnp.take_along_axis(log_p_BTV, tokens_BT[:, 1:, None], axis=-1)[..., 0]
        return unlikelihood(jnp.pad(nll_BT, ((0, 0), (1, 0)), constant_values=1.0))

    def chunked(params, shift):
        model = nnx.merge(graphdef, params)
        shifted = model.decode
        model.decode = lambda x_BTD, *others: shifted(x_BTD + shift, *others)
        return unlikelihood(each_nll(model, *batch()))

    by = (1,) if is_frozen else (0, 1)
    wanted = jax.jit(jax.value_and_grad(expected, argnums=by))(params, jnp.float32(0))
    found = jax.jit(jax.value_and_grad(chunked, argnums=by))(params, jnp.float32(0))
    assert_close(found, wanted, roundings=8 * (D + V + T))


@pytest.mark.parametrize("chunk_logits", [2**25, 4 * V])
def test_the_losses_of_the_rows_come_beside_the_sum_and_change_nothing_of_it(chunk_logits):
    model = Ends(None, chunk_logits)
    graphdef, params = nnx.split(model)

    def alone(params):
        return summed_nll(nnx.merge(graphdef, params), *batch(), 0.25)

    def beside(params):
        return summed_and_rows_nll(nnx.merge(graphdef, params), *batch(), 0.25)

    loss, gradients = jax.value_and_grad(alone)(params)
    (total, nll_B), same = jax.value_and_grad(beside, has_aux=True)(params)
    assert jax.tree.map(bytes, (total, same)) == jax.tree.map(bytes, (loss, gradients))
    assert_close(nll_B, response_nll(model, *batch())[0], roundings=T)
    assert_close(total, 0.25 * nll_B.sum(), roundings=T)
    # Not a function of the parameters for whoever differentiates it.
    _, of_rows = jax.value_and_grad(lambda params: beside(params)[1].sum())(params)
    assert all(not leaf.any() for leaf in jax.tree.leaves(of_rows))


@pytest.mark.parametrize("chunk_logits", LIMITS)
def test_a_batch_in_which_nothing_counts_has_no_loss_and_no_gradient(chunk_logits):
    graphdef, params = nnx.split(Ends(None, chunk_logits))
    tokens_BT, segment_ids_BT, loss_mask_BT = batch()

    def loss(params):
        model = nnx.merge(graphdef, params)
        return summed_nll(model, tokens_BT, segment_ids_BT, loss_mask_BT & False)

    total, gradients = jax.value_and_grad(loss)(params)
    assert total == 0
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradients))


def test_a_token_that_is_certain_has_a_loss_of_zero_and_not_below():
    model = Ends(None)
    model.table.embedding.set_value(jax.random.normal(jax.random.key(2), (V, D)) * 300)
    tokens_BT, segment_ids_BT, loss_mask_BT = batch()
    positions_BT = positions_of(segment_ids_BT)
    best_BT = first_best(model.unembedding.logits(*forward(model, tokens_BT, positions_BT)))
    for slot in range(1, T):
        tokens_BT = tokens_BT.at[:, slot].set(best_BT[:, slot - 1])
        best_BT = first_best(model.unembedding.logits(*forward(model, tokens_BT, positions_BT)))
    nll_B, _ = response_nll(model, tokens_BT, segment_ids_BT, loss_mask_BT)
    assert (nll_B >= 0).all()
    assert (nll_B < 1e-3).any()


def forward(model, tokens_BT, positions_BT):
    x_BTD, table_VD = model.embed(tokens_BT, positions_BT)
    return model.decode(x_BTD, positions_BT, None)[0], table_VD


def test_the_count_is_that_of_the_marked_tokens_that_have_a_token_before_them():
    tokens_BT, segment_ids_BT, _ = batch()
    _, count_B = response_nll(Ends(None), tokens_BT, segment_ids_BT, segment_ids_BT == 1)
    assert count_B.tolist() == [T - 1, 6]
    assert count(segment_ids_BT == 1) == T - 1 + 6


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
    tokens_BT, segment_ids_BT = jnp.ones((B, 64), jnp.int32), jnp.ones((B, 64), jnp.int32)

    def program(chunk_logits):
        graphdef, params = nnx.split(Ends(3.0, chunk_logits))

        def loss(params):
            model = nnx.merge(graphdef, params)
            return summed_nll(model, tokens_BT, segment_ids_BT, segment_ids_BT == 1)

        return jax.make_jaxpr(jax.value_and_grad(loss))(params).jaxpr

    assert largest(program(10**9)) == B * 64 * V
    assert largest(program(B * 16 * V)) == B * 16 * V


def test_positions_begin_anew_in_every_segment():
    segment_ids_BT = jnp.array([[1, 1, 2, 2, 2, 0], [0, 0, 1, 1, 1, 1]])
    assert positions_of(segment_ids_BT).tolist() == [[0, 1, 0, 1, 2, 0], [0, 1, 0, 1, 2, 3]]


@pytest.mark.parametrize("chunk_logits", [2**25, 3 * V])
def test_continuations_have_the_loss_of_their_tokens_and_are_greedy_where_each_is_the_best(chunk_logits):
    model = Ends(None, chunk_logits)
    tokens_BT, segment_ids_BT, _ = batch()
    target_BT = jnp.pad(tokens_BT[:, 1:], ((0, 0), (0, 1)))
    counted_BT = jnp.zeros((B, T), bool).at[:, 2:5].set(True)
    mask_BT = jnp.zeros((B, T), bool).at[:, 3:6].set(True)
    x_BTD, table_VD = model.embed(tokens_BT, positions_of(segment_ids_BT))
    best_BT = jnp.argmax(jnp.sin(x_BTD) @ table_VD.T, axis=-1)
    for target, greedy in (
        (target_BT, [False, False]),
        (target_BT.at[1, 2:5].set(best_BT[1, 2:5]), [False, True]),
    ):
        nll_B, is_greedy_B = continuation_scores(model, tokens_BT, segment_ids_BT, target, counted_BT)
        assert is_greedy_B.tolist() == greedy
    # the first row's targets are the tokens that follow, as training has them
    expected_B, _ = response_nll(model, tokens_BT, segment_ids_BT, mask_BT)
    assert_close(nll_B[0], expected_B[0], roundings=D + V + T)
    one_wrong = target_BT.at[1, 2:5].set(best_BT[1, 2:5]).at[1, 4].add(1)
    arguments = (model, tokens_BT, segment_ids_BT, one_wrong, counted_BT)
    assert continuation_scores(*arguments)[1].tolist() == [False, False]


def test_the_best_is_the_first_of_equals():
    logits_BV = jnp.array([[0.0, 2.0, 2.0, 1.0], [3.0, 1.0, 3.0, 3.0]])
    assert first_best(logits_BV).tolist() == [1, 0]
