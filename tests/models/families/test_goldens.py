"""Parity with transformers on the checkpoints of tests/goldens, which make_goldens.py there wrote."""

import json
from functools import cache

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from tests.closeness import assert_close, model_roundings
from tests.models.families.goldens import CONFIGS, GOLDENS, expected, golden_config
from tests.training.toy import SFT
from tunix_exp.evaluation.generate import generate
from tunix_exp.models import hf
from tunix_exp.models.architecture import abstract
from tunix_exp.models.digest import parameter_count
from tunix_exp.models.families.registry import weight_maps
from tunix_exp.models.loss import positions_of, response_nll, summed_nll
from tunix_exp.models.paths import is_stacked, layer_paths, path_of
from tunix_exp.models.weight_map import each_layer, stored_name
from tunix_exp.objectives.sft.batch import BatchArrays
from tunix_exp.training import optim
from tunix_exp.training.config import AdamWConfig
from tunix_exp.training.step import init_state, make_step

FAMILIES = tuple(family for family in CONFIGS if family != "gpt2")


def forward(family):
    config = golden_config(family)
    return model_roundings(config, config.num_positions)


def read(family, folder):
    """The graph and the parameters of the checkpoint in `folder`."""
    config = golden_config(family)
    graphdef, shapes = nnx.split(abstract(config, param_dtype=jnp.float32, compute_dtype=jnp.float32))
    return graphdef, hf.read(folder, config, shapes)


@cache
def golden(family):
    graphdef, contents = read(family, GOLDENS / family)
    return graphdef, contents.params


def batch(family):
    names = ("tokens", "segment_ids", "response_mask")
    tokens_BT, segment_ids_BT, mask_BT = (jnp.asarray(expected(family)[name]) for name in names)
    return BatchArrays(tokens_BT, segment_ids_BT, mask_BT.astype(bool))


@cache
def program(family):
    """From parameters to logits, loss, each row's loss, and gradients, in one compilation."""
    graphdef, _ = golden(family)
    tokens_BT, segment_ids_BT, mask_BT = batch(family)

    @jax.jit
    def compute(params):
        def loss(params):
            model = nnx.merge(graphdef, params)
            nll_B, count_B = response_nll(model, tokens_BT, segment_ids_BT, mask_BT)
            x_BTD, _ = model.hidden(tokens_BT, positions_of(segment_ids_BT), segment_ids_BT)
            mean = summed_nll(model, tokens_BT, segment_ids_BT, mask_BT, 1 / count_B.sum())
            return mean, (nll_B / count_B, model.logits(x_BTD))

        (loss_, (nll_B, logits_BTV)), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        return logits_BTV, loss_, nll_B, gradients

    return compute


@cache
def computed(family):
    return program(family)(golden(family)[1])


def assert_logits_are(logits_BTV, expected_BTV, family):
    real_BT = expected(family)["segment_ids"] == 1
    assert_close(np.asarray(logits_BTV)[real_BT], expected_BTV[real_BT], roundings=forward(family))


def norms_by_name(params, family):
    """The norm of every single tensor, under its name on the Hub."""
    layers = golden_config(family).num_layers
    names = {}
    for row in (weight_map := weight_maps()[family]).rows:
        stored = each_layer(stored_name(row, weight_map), layers)
        names |= dict(zip(each_layer(row.path, layers), stored, strict=True))
    norms = {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(params):
        path, values = path_of(keys), np.asarray(leaf, np.float64)
        stacked = is_stacked(path)
        parts = zip(layer_paths(path, len(values)), values, strict=True) if stacked else [(path, values)]
        for part, value in parts:
            norms[names[part]] = float(np.linalg.norm(value))
    return norms


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_are_as_many(family):
    assert parameter_count(golden(family)[1]) == expected(family)["parameters"]


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_agree(family):
    assert_logits_are(computed(family)[0], expected(family)["logits"], family)


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_every_gradient_norm_agree(family):
    _, loss, nll_B, gradients = computed(family)
    told, roundings = expected(family), forward(family)
    assert_close((loss, nll_B), (told["loss"], told["nll_per_example"]), roundings=roundings)
    assert_close(norms_by_name(gradients, family), told["gradient_norms"], roundings=3 * roundings)


@pytest.mark.parametrize("family", FAMILIES)
def test_five_steps_agree(family):
    adamw, training = expected(family)["adamw"], expected(family)["training"]
    config = AdamWConfig(
        name="adamw", peak_lr=adamw["lr"], schedule="constant", schedule_per="run",
        warmup_steps=0, final_lr_ratio=None,
        wsd_decay_fraction=None, clip_norm=adamw["clip_norm"], weight_decay=adamw["weight_decay"],
        decay_mask="all", accumulation_steps=1, rounding="nearest",
        b1=adamw["betas"][0], b2=adamw["betas"][1], eps=adamw["eps"],
    )  # fmt: skip
    graphdef, params = golden(family)
    structure = optim.structure(config)
    state = init_state(structure, jax.tree.map(jnp.copy, params), "float32")
    step, scalars = make_step(graphdef, structure, SFT.loss), optim.scalars(config, total_steps=5)
    seen = []
    for _ in range(6):
        before = jax.tree.map(np.asarray, state.params)
        state, metrics = step(state, batch(family), scalars)
        seen.append((float(metrics.loss), float(metrics.grad_norm)))
    losses, gradient_norms = zip(*seen, strict=True)
    expected_losses = [*training["losses_before_each_step"], training["loss_after_last_step"]]
    found = losses, list(gradient_norms[:5]), norms_by_name(before, family)
    names = "gradient_norm_before_clipping", "parameter_norms_after_last_step"
    told = tuple(expected_losses), *(training[name] for name in names)
    assert_close(found, told, roundings=5 * 3 * forward(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_are_equal(family):
    model = nnx.merge(*golden(family))
    new_tokens = len(expected(family)["greedy"][0])
    answers = generate(
        model, expected(family)["prompts"], max_new_tokens=new_tokens, eos_ids=(), pad_id=0, batch_size=3
    )
    assert [list(answer.tokens) for answer in answers] == expected(family)["greedy"]


def write(folder, tensors, config):
    """A checkpoint in two shards."""
    (folder / "config.json").write_text(json.dumps(config))
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, held in shards.items():
        save_file({name: tensors[name] for name in held}, folder / file)
    where = {name: file for file, held in shards.items() for name in held}
    (folder / hf.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder


def as_older_versions_wrote_it(config):
    """config.json in the keys that the published checkpoints have."""
    old = {k: v for k, v in config.items() if k not in ("dtype", "rope_parameters", "layer_types")}
    old = {k: v for k, v in old.items() if k not in ("tie_word_embeddings", "use_bidirectional_attention")}
    old["torch_dtype"], rope = config["dtype"], config["rope_parameters"]
    match config["model_type"]:
        case "gemma":
            old |= {"hidden_act": "gelu", "hidden_activation": None, "rope_theta": 10000.0}
        case "gemma2":
            old |= {
                "rope_theta": 10000.0,
                "hidden_act": "gelu_pytorch_tanh",
                "cache_implementation": "hybrid",
            }
        case "gemma3_text":
            del old["_sliding_window_pattern"]
            old |= {"rope_theta": 1000000, "rope_local_base_freq": 10000, "rope_scaling": None}
            old |= {"sliding_window_pattern": 3, "eos_token_id": [1, 106]}
        case "llama":
            scaling = {key: rope[key] for key in rope if key != "rope_theta"}
            old |= {"rope_theta": rope["rope_theta"], "rope_scaling": scaling, "tie_word_embeddings": True}
        case "smollm3":
            old |= {"rope_theta": rope["rope_theta"], "pretraining_tp": 2}
            del old["no_rope_layers"]
        case "recurrent_gemma":
            old |= {"rope_theta": rope["rope_theta"], "partial_rotary_factor": 0.5, "rotary_emb_base": 5e4}
            old |= {"_block_types": old.pop("block_types"), "embeddings_scale_by_sqrt_dim": True}
        case _:
            old |= {"rope_theta": rope["rope_theta"], "tie_word_embeddings": config["tie_word_embeddings"]}
    return old


@pytest.mark.parametrize("family", FAMILIES)
def test_shards_and_older_keys_give_the_same_parameters(family, tmp_path):
    stored = load_file(GOLDENS / family / "model.safetensors")
    config = json.loads((GOLDENS / family / "config.json").read_text())
    _, contents = read(family, write(tmp_path, stored, as_older_versions_wrote_it(config)))
    jax.tree.map(np.testing.assert_array_equal, contents.params, golden(family)[1])
    assert contents.stored_dtypes == ("F32",)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_stored_in_bfloat16_give_the_logits_that_transformers_computes_from_them(family, tmp_path):
    stored = load_file(GOLDENS / family / "model.safetensors")
    rounded = {name: values.astype(ml_dtypes.bfloat16) for name, values in stored.items()}
    config = json.loads((GOLDENS / family / "config.json").read_text())
    _, contents = read(family, write(tmp_path, rounded, config | {"dtype": "bfloat16"}))
    assert contents.stored_dtypes == ("BF16",)
    logits_BTV = program(family)(contents.params)[0]
    assert_logits_are(logits_BTV, expected(family)["logits_of_bfloat16_weights"], family)
