"""An output table of its own: read by the logits, the losses and the answers, and by nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P

from tests.closeness import assert_clear, assert_close, model_roundings
from tests.models.lora_toys import adapted, logits_of
from tests.models.toys import toy_config, toy_model
from tunix_exp.evaluation.generate import generate
from tunix_exp.models import lora
from tunix_exp.models.digest import parameter_count
from tunix_exp.models.loss import each_nll, response_nll, summed_nll
from tunix_exp.models.loss_chunk import LossChunk
from tunix_exp.models.paths import path_of
from tunix_exp.models.sharding import spec_of

FORWARD = model_roundings(toy_config(), 8)
TOKENS = jax.random.randint(jax.random.key(1), (2, 8), 0, 31)
ONES = jnp.ones_like(TOKENS)
LEARNT = jnp.arange(8)[None] >= jnp.array([[3], [5]])


def untied(**changes):
    return toy_model(tied_embeddings=False, **changes)


def with_equal_tables():
    """The untied model that computes what the tied one does."""
    model = nnx.clone(untied())
    params = nnx.state(toy_model())
    nnx.update(model, params)
    model.output_embedding.embedding[...] = model.token_embedding.embedding[...]
    return model


def test_it_is_one_parameter_more_and_drawn_from_a_stream_of_its_own():
    model = untied()
    table_VD = model.output_embedding.embedding[...]
    assert parameter_count(nnx.state(model)) == parameter_count(nnx.state(toy_model())) + table_VD.size
    np.testing.assert_array_equal(
        model.token_embedding.embedding[...], toy_model().token_embedding.embedding[...]
    )
    assert not (table_VD == model.token_embedding.embedding[...]).any()
    assert 0.25 < float(jnp.std(table_VD)) < 0.35


def test_logits_are_products_with_it_and_equal_tables_give_those_of_the_tied_model():
    model = untied()
    x_BTD, _ = model.hidden(TOKENS, jnp.broadcast_to(jnp.arange(8), (2, 8)), ONES)
    expected = x_BTD @ model.output_embedding.embedding[...].T
    assert_close(logits_of(model, TOKENS), expected, roundings=FORWARD)
    assert_close(logits_of(with_equal_tables(), TOKENS), logits_of(toy_model(), TOKENS), roundings=FORWARD)


def few(model):
    """The model with the logits of a few tokens at a time."""
    model.loss_chunk = LossChunk(4, None)
    return model


def test_each_table_has_the_gradient_of_its_own_use_and_both_together_that_of_the_tied_one():
    def gradients(model):
        graphdef, params = nnx.split(model)

        @jax.jit
        @jax.grad
        def compute(params):
            return summed_nll(nnx.merge(graphdef, params), TOKENS, ONES, LEARNT)

        found = nnx.to_pure_dict(compute(params))
        return found, np.asarray(found.pop("token_embedding")["embedding"])

    (tied, both_VD), (own, input_VD) = gradients(few(toy_model())), gradients(few(with_equal_tables()))
    output_VD = np.asarray(own.pop("output_embedding")["embedding"])
    assert_close((own, input_VD + output_VD), (tied, both_VD), roundings=3 * FORWARD)
    read = np.isin(np.arange(31), TOKENS[:, :-1])
    np.testing.assert_array_equal(np.abs(input_VD).sum(1) > 0, read)
    assert (np.abs(output_VD).sum(1) > 0).all()


def test_every_loss_is_that_of_its_logits():
    model = few(untied())
    predicted_BTV = jax.nn.log_softmax(logits_of(model, TOKENS))[:, :-1]
    nll_BT = -jnp.take_along_axis(predicted_BTV, TOKENS[:, 1:, None], axis=-1)[..., 0] * LEARNT[:, 1:]
    found = (
        response_nll(model, TOKENS, ONES, LEARNT)[0],
        each_nll(model, TOKENS, ONES, LEARNT)[:, 1:],
    )
    assert_close(found, (nll_BT.sum(1), nll_BT), roundings=FORWARD)


def test_answers_are_the_best_of_its_logits():
    model, prompt = untied(), [5, 3, 8]
    (answer,) = generate(model, [prompt], max_new_tokens=5, eos_ids=(), pad_id=0, batch_size=8)
    for number, token in enumerate(answer.tokens):
        logits_V = logits_of(model, jnp.array([[*prompt, *answer.tokens[:number]]]))[0, -1]
        assert_clear(logits_V, roundings=model_roundings(toy_config(), 8))
        assert token == int(jnp.argmax(logits_V))


def test_an_adapter_leaves_it_frozen_and_merged_it_stays():
    model = adapted("gpt2", tied_embeddings=False)
    _, trained, (frozen,) = lora.split(model)
    assert "output_embedding" in frozen
    assert "output_embedding" not in trained
    merged = lora.merged(model)
    assert merged.output_embedding.embedding[...] is model.output_embedding.embedding[...]
    assert_close(logits_of(merged, TOKENS), logits_of(model, TOKENS), roundings=2 * FORWARD)


def test_it_is_split_as_the_table_of_tokens_is():
    mesh = AbstractMesh((1, 4, 2), ("data", "fsdp", "tensor"))
    state = nnx.state(untied(vocab_size=64))
    paths = {path_of(keys): leaf.shape for keys, leaf in jax.tree_util.tree_leaves_with_path(state)}
    for table in ("token_embedding/embedding", "output_embedding/embedding"):
        assert spec_of(table, paths[table], mesh) == P(("tensor", "fsdp"), None)
