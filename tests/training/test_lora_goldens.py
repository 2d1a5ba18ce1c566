"""What PEFT computes from tests/goldens/*/lora beside its checkpoint: logits, gradients, five AdamW steps."""

import json
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.closeness import assert_close, model_roundings
from tests.models.families.goldens import ADAPTERS, GOLDENS, golden_config
from tests.training.toy import ADAMW, SFT
from tunix_exp.models import lora, peft, weights
from tunix_exp.models.digest import parameter_count, weight_hash
from tunix_exp.models.loss import positions_of, response_nll
from tunix_exp.models.paths import is_stacked, layer_paths, path_of
from tunix_exp.models.weight_map import each_layer
from tunix_exp.objectives.objective import Held
from tunix_exp.objectives.sft.batch import BatchArrays
from tunix_exp.training import optim
from tunix_exp.training.step import init_state, make_step

FAMILIES = tuple(ADAPTERS)


@cache
def expected(family):
    folder = GOLDENS / family / "lora"
    told = json.loads((folder / "expected.json").read_text()) | dict(np.load(folder / "expected.npz"))
    return told | {"adamw": json.loads((GOLDENS / family / "expected.json").read_text())["adamw"]}


@cache
def batch(family):
    arrays = np.load(GOLDENS / family / "expected.npz")
    return BatchArrays(arrays["tokens"], arrays["segment_ids"], arrays["response_mask"].astype(bool))


def config_of(family):
    return golden_config(family, weights=str(GOLDENS / family))


@cache
def parts(family):
    dtypes = {"param_dtype": "float32", "compute_dtype": "float32"}
    return lora.split(weights.load(config_of(family), ADAPTERS[family], **dtypes, seed=0).model)


def norms_by_name(params, family):
    """The norm of every single tensor, under the name that PEFT gives its parameters."""
    names, weight_map, layers = {}, peft.weight_map(family), golden_config(family).num_layers
    for row in weight_map.rows:
        names |= dict(zip(each_layer(row.path, layers), each_layer(row.name, layers), strict=True))
    norms = {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(params):
        path, values = path_of(keys), np.asarray(leaf, np.float64)
        stacked = is_stacked(path)
        parts = zip(layer_paths(path, len(values)), values, strict=True) if stacked else [(path, values)]
        for part, value in parts:
            name = names[part].removesuffix(".weight")
            norms[f"{weight_map.prefix}{name}.default.weight"] = float(np.linalg.norm(value))
    return norms


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_loss_and_every_gradient_norm_agree(family):
    graphdef, trained, frozen = parts(family)
    tokens_BT, segment_ids_BT, mask_BT = (jnp.asarray(part) for part in batch(family))

    @jax.jit
    def compute(trained):
        def loss(trained):
            model = nnx.merge(graphdef, trained, *frozen)
            nll_B, count_B = response_nll(model, tokens_BT, segment_ids_BT, mask_BT)
            x_BTD, _ = model.hidden(tokens_BT, positions_of(segment_ids_BT), segment_ids_BT)
            return nll_B.sum() / count_B.sum(), model.logits(x_BTD)

        return jax.value_and_grad(loss, has_aux=True)(trained)

    (loss, logits_BTV), gradients = compute(trained)
    assert parameter_count(trained) == expected(family)["parameters"]
    real_BT = batch(family).segment_ids_BT == 1
    told, roundings = expected(family), model_roundings(config_of(family), tokens_BT.shape[1])
    found = np.asarray(logits_BTV)[real_BT], loss
    assert_close(found, (told["logits"][real_BT], told["loss"]), roundings=roundings)
    assert_close(norms_by_name(gradients, family), told["gradient_norms"], roundings=3 * roundings)


@pytest.mark.parametrize("family", FAMILIES)
def test_five_steps_agree_and_the_frozen_weights_stay(family):
    adamw, training = expected(family)["adamw"], expected(family)["training"]
    config = ADAMW.model_copy(
        update={
            "peak_lr": adamw["lr"], "b1": adamw["betas"][0], "b2": adamw["betas"][1], "eps": adamw["eps"],
            "weight_decay": adamw["weight_decay"], "clip_norm": adamw["clip_norm"],
        }
    )  # fmt: skip
    graphdef, trained, frozen = parts(family)
    before = weight_hash(frozen[0])
    structure = optim.structure(config)
    state = init_state(structure, jax.tree.map(jnp.copy, trained), "float32")
    step, s = make_step(graphdef, structure, SFT.loss), optim.scalars(config, total_steps=5)
    seen, norms = [], {}
    for _ in range(6):
        norms = norms_by_name(state.params, family)
        state, metrics = step(state, batch(family), s, Held(frozen))
        seen.append((float(metrics.loss), float(metrics.grad_norm)))
    losses, gradient_norms = zip(*seen, strict=True)
    wanted = [*training["losses_before_each_step"], training["loss_after_last_step"]]
    names = "gradient_norm_before_clipping", "parameter_norms_after_last_step"
    told = tuple(wanted), *(training[name] for name in names)
    five = model_roundings(config_of(family), batch(family).tokens_BT.shape[1], passes=5 * 3)
    assert_close((losses, list(gradient_norms[:5]), norms), told, roundings=five)
    assert weight_hash(frozen[0]) == before
