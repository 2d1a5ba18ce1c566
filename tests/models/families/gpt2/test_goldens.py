"""Parity with transformers on tests/goldens/gpt2, a checkpoint that make_goldens.py beside it wrote."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.closeness import assert_close, model_roundings
from tests.models.toys import toy_config
from tunix_exp.evaluation.generate import generate
from tunix_exp.models import hf
from tunix_exp.models.architecture import abstract
from tunix_exp.models.digest import parameter_count
from tunix_exp.models.families.gpt2.names import GPT2_NAMES
from tunix_exp.models.loss import positions_of, response_nll, summed_nll
from tunix_exp.models.paths import path_of
from tunix_exp.models.weight_map import each_layer

FOLDER = Path(__file__).parents[3] / "goldens" / "gpt2"
SIZES = {
    "vocab_size": 128,
    "num_positions": 32,
    "width": 32,
    "mlp_width": 128,
    "num_layers": 2,
    "num_heads": 4,
}
FORWARD = model_roundings(toy_config(**SIZES), SIZES["num_positions"])


@pytest.fixture(scope="module")
def expected():
    return json.loads((FOLDER / "expected.json").read_text()) | dict(np.load(FOLDER / "expected.npz"))


@pytest.fixture(scope="module")
def model():
    config = toy_config(**SIZES)
    graphdef, shapes = nnx.split(abstract(config, param_dtype=jnp.float32, compute_dtype=jnp.float32))
    return nnx.merge(graphdef, hf.read(FOLDER, config, shapes).params)


def test_parameters_are_as_many(model, expected):
    assert parameter_count(nnx.state(model)) == expected["parameters"]


def test_logits_agree(model, expected):
    @nnx.jit
    def logits_of(model, tokens_BT, segment_ids_BT):
        return model.logits(model.hidden(tokens_BT, positions_of(segment_ids_BT), segment_ids_BT)[0])

    logits_BTV = logits_of(model, jnp.asarray(expected["tokens"]), jnp.asarray(expected["segment_ids"]))
    real_BT = expected["segment_ids"] == 1
    assert_close(np.asarray(logits_BTV)[real_BT], expected["logits"][real_BT], roundings=FORWARD)


def test_losses_and_every_gradient_norm_agree(model, expected):
    graphdef, params = nnx.split(model)
    batch = [jnp.asarray(expected[name]) for name in ("tokens", "segment_ids", "response_mask")]

    @jax.jit
    def losses_and_gradients(params):
        def loss(params):
            model, mask_BT = nnx.merge(graphdef, params), batch[2].astype(bool)
            nll_B, count_B = response_nll(model, *batch[:2], mask_BT)
            return summed_nll(model, *batch[:2], mask_BT, 1 / count_B.sum()), nll_B / count_B

        return jax.value_and_grad(loss, has_aux=True)(params)

    (loss, nll_B), gradients = losses_and_gradients(params)
    assert_close((loss, nll_B), (expected["loss"], expected["nll_per_example"]), roundings=FORWARD)
    paths = {}
    for row in GPT2_NAMES.rows:
        paths |= dict(zip(each_layer(row.path, 2), each_layer(row.name, 2), strict=True))
    norms = {
        f"transformer.{paths[path_of(keys)]}": float(np.linalg.norm(np.asarray(leaf, np.float64)))
        for keys, leaf in jax.tree_util.tree_leaves_with_path(gradients)
    }
    assert_close(norms, expected["gradient_norms"], roundings=3 * FORWARD)


def test_greedy_tokens_are_equal(model, expected):
    new_tokens = len(expected["greedy"][0])
    answers = generate(
        model, expected["prompts"], max_new_tokens=new_tokens, eos_ids=(), pad_id=0, batch_size=3
    )
    assert [list(answer.tokens) for answer in answers] == expected["greedy"]
