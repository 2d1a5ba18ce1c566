"""AdamW steps on tests/goldens/gpt2 give the losses and parameter norms that PyTorch gives."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.closeness import assert_close, model_roundings, relative_bound
from tests.models.toys import toy_config
from tests.training.toy import ADAMW, SFT
from tunix_exp.models import hf
from tunix_exp.models.architecture import abstract
from tunix_exp.models.families.gpt2.names import GPT2_NAMES
from tunix_exp.models.paths import path_of
from tunix_exp.models.weight_map import each_layer
from tunix_exp.objectives.sft.batch import BatchArrays
from tunix_exp.training import optim
from tunix_exp.training.step import init_state, make_step

FOLDER = Path(__file__).parents[1] / "goldens" / "gpt2"
SIZES = {
    "vocab_size": 128, "num_positions": 32, "width": 32, "mlp_width": 128, "num_layers": 2, "num_heads": 4,
}  # fmt: skip
STEP = model_roundings(toy_config(**SIZES), SIZES["num_positions"], passes=3)


def test_five_adamw_steps_agree_with_pytorch():
    expected = json.loads((FOLDER / "expected.json").read_text())
    arrays = np.load(FOLDER / "expected.npz")
    batch = BatchArrays(arrays["tokens"], arrays["segment_ids"], arrays["response_mask"].astype(bool))
    adamw, training = expected["adamw"], expected["training"]
    config = ADAMW.model_copy(
        update={
            "peak_lr": adamw["lr"], "b1": adamw["betas"][0], "b2": adamw["betas"][1], "eps": adamw["eps"],
            "weight_decay": adamw["weight_decay"], "clip_norm": adamw["clip_norm"], "decay_mask": "all",
        }
    )  # fmt: skip
    state, step, s = _begun(config)
    losses, norms, after = [], [], {}
    for update in range(6):
        if update == 5:
            after = _norms(state.params)
        state, metrics = step(state, batch, s)
        losses.append(float(metrics.loss))
        norms.append(float(metrics.grad_norm))
    wanted = [*training["losses_before_each_step"], training["loss_after_last_step"]]
    assert_close(losses, wanted, roundings=5 * STEP)
    assert_close(norms[:5], training["gradient_norm_before_clipping"], roundings=5 * STEP)
    wanted_norms = training["parameter_norms_after_last_step"]
    assert after.keys() == wanted_norms.keys()
    for name, norm in after.items():
        # The key third of c_attn.bias has no gradient but rounding, which Adam scales up to full steps, here
        # in one direction and there in the other.
        anywhere = 2 * 5 * adamw["lr"] * SIZES["width"] ** 0.5 if name.endswith("c_attn.bias") else 0.0
        explained = relative_bound(5 * STEP) * wanted_norms[name]
        assert norm == pytest.approx(wanted_norms[name], rel=0, abs=anywhere + explained), name


def test_fifty_adamw_steps_follow_the_curve_of_pytorch_at_every_step():
    expected = json.loads((FOLDER / "curve.json").read_text())
    adamw, sizes = expected["adamw"], expected["batches"]
    config = ADAMW.model_copy(
        update={
            "peak_lr": adamw["lr"], "b1": adamw["betas"][0], "b2": adamw["betas"][1], "eps": adamw["eps"],
            "weight_decay": adamw["weight_decay"], "clip_norm": None, "decay_mask": "all",
        }
    )  # fmt: skip
    state, step, s = _begun(config)
    shape = sizes["count"], sizes["rows"], sizes["length"]
    batches_NBT = (
        np.random.default_rng(sizes["seed"]).integers(0, SIZES["vocab_size"], shape).astype(np.int32)
    )
    losses = []
    for number in range(len(expected["losses"])):
        tokens_BT = batches_NBT[number % sizes["count"]]
        batch = BatchArrays(tokens_BT, np.ones_like(tokens_BT), np.ones(tokens_BT.shape, bool))
        state, metrics = step(state, batch, s)
        losses.append(float(metrics.loss))
    assert len(losses) == 50
    assert losses[-1] < losses[0] - 1
    assert_close(losses, expected["losses"], roundings=50 * STEP)


def _begun(config):
    """The golden's state before the first update, its step and the step's scalars."""
    model_config = toy_config(**SIZES)
    graphdef, shapes = nnx.split(abstract(model_config, param_dtype=jnp.float32, compute_dtype=jnp.float32))
    structure = optim.structure(config)
    state = init_state(structure, hf.read(FOLDER, model_config, shapes).params, "float32")
    return state, make_step(graphdef, structure, SFT.loss), optim.scalars(config, total_steps=50)


def _norms(params):
    paths = {}
    for row in GPT2_NAMES.rows:
        paths |= dict(zip(each_layer(row.path, 2), each_layer(row.name, 2), strict=True))
    return {
        f"transformer.{paths[path_of(keys)]}": float(np.linalg.norm(np.asarray(leaf, np.float64)))
        for keys, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
