"""An adapter beside a quantized base: what it costs in loss, what it takes in memory, and that it learns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.closeness import assert_close, model_roundings
from tests.composing import composed
from tests.models.lora_toys import lora_config
from tests.training.toy import ADAMW, MODEL, SFT
from tunix_exp.config import validate
from tunix_exp.device.mesh import make_mesh
from tunix_exp.models import lora
from tunix_exp.models.architecture import build
from tunix_exp.models.loss import response_nll
from tunix_exp.models.loss_chunk import LossChunk
from tunix_exp.models.quantize import Quantizer
from tunix_exp.objectives import registry
from tunix_exp.objectives.objective import Held
from tunix_exp.objectives.sft.batch import BatchArrays
from tunix_exp.training import optim
from tunix_exp.training.footprint import Setting, footprint
from tunix_exp.training.step import compile_step, init_state, make_step

CONFIG = MODEL.model_copy(update={"width": 64, "mlp_width": 128, "num_heads": 4})
KINDS = (None, "int8", "nf4")


def rows(seed, count=16, length=20):
    """Rows of a noisy rule: the next token is 3 times the last one and 1, four times out of five."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 31, (count, length), dtype=np.int32)
    for place in range(1, length):
        follows = (3 * tokens[:, place - 1] + 1) % 31
        tokens[:, place] = np.where(rng.random(count) < 0.8, follows, tokens[:, place])
    return BatchArrays(tokens, np.ones_like(tokens), np.ones_like(tokens, dtype=bool))


def updated(model, steps, *, first):
    """The model after so many updates, and its loss before each."""
    graphdef, trained, frozen = lora.split(model)
    state = init_state(optim.structure(ADAMW), jax.tree.map(jnp.copy, trained), "float32")
    step, scalars = (
        make_step(graphdef, optim.structure(ADAMW), SFT.loss),
        optim.scalars(ADAMW, total_steps=steps),
    )
    losses = []
    for number in range(steps):
        state, metrics = step(state, rows(first + number), scalars, Held(frozen))
        losses.append(float(metrics.loss))
    return nnx.merge(graphdef, state.params, *frozen), losses


@functools.cache
def trained_base():
    return updated(build(CONFIG, param_dtype="float32", compute_dtype="float32", seed=0), 150, first=0)[0]


def quantized_base(kind):
    """The trained base, held in `kind`."""
    config = CONFIG.model_copy(update={"quantize": kind})
    graphdef, params = nnx.split(trained_base())
    model = nnx.merge(graphdef, jax.tree.map(jnp.copy, params))
    quantizer = Quantizer(model, config, None)
    for place in lora.places(model, "gpt2"):
        codes = quantizer.codes(f"{place.full_path}/kernel", iter([place.dense.kernel[...]]))
        if codes is not None:
            place.dense.kernel = place.dense.kernel.replace(codes)
    quantizer.finish(model)
    return model


def heldout_loss(model):
    """Nats a token of rows that no update saw."""
    graphdef, params = nnx.split(model)
    nll = jax.jit(lambda params, batch: response_nll(nnx.merge(graphdef, params), *batch))
    nll_B, count_B = nll(params, rows(10_000, count=256))
    return float(nll_B.sum() / count_B.sum())


def test_a_quantized_base_is_nearly_as_good_as_the_base():
    plain, int8, nf4 = (heldout_loss(quantized_base(kind)) for kind in KINDS)
    untrained = heldout_loss(build(CONFIG, param_dtype="float32", compute_dtype="float32", seed=0))
    learnt = untrained - plain
    assert learnt > 1
    assert 0 < abs(int8 - plain) < 0.0005 * learnt
    assert abs(int8 - plain) < abs(nf4 - plain) < 0.01 * learnt


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_an_adapter_learns_beside_it_and_leaves_every_code_as_it_was(kind):
    config = lora_config(targets=("all",), rank=4)
    model = lora.attach(quantized_base(kind), config, family="gpt2", seed=0)
    before = jax.tree.map(np.asarray, lora.own_parameters(model))
    after, _ = updated(model, 40, first=1000)
    assert heldout_loss(after) < heldout_loss(model)
    jax.tree.map(np.testing.assert_array_equal, lora.own_parameters(after), before)


def test_gradients_are_those_of_the_adapter_beside_the_weights_that_the_codes_stand_for():
    config = lora_config(targets=("all",), rank=4)
    model = lora.attach(quantized_base("nf4"), config, family="gpt2", seed=0)
    held = nnx.merge(*nnx.split(model))
    for place in lora.places(held, "gpt2"):
        weights_IO = place.dense.weights(jnp.float32)
        place.dense.kernel, place.dense.scales = place.dense.kernel.replace(weights_IO), None
    losses = [updated(one, 5, first=1000)[1] for one in (model, held)]
    assert_close(*losses, roundings=model_roundings(CONFIG, 20, passes=15))


# Matrices that are much of the memory, and few rows.
LARGE = (
    "model=tiny-llama", "model.width=512", "model.mlp_width=2048", "model.num_layers=3",
    "model.stored_dtype=float32", "adapter=lora", "adapter.rank=2", "eval=none", "mode=preflight",
    "device=cpu", "device.compute_dtype=float32", "training.batch_size=2", "data.max_tokens=32",
)  # fmt: skip


def compiled_setting(kind, loop, remat):
    config = validate(
        composed(
            *LARGE, f"model.quantize={kind or 'null'}", f"model.layer_loop={loop}", f"model.remat={remat}"
        )
    )
    mesh, objective = make_mesh(config.device, jax.devices()[:1]), registry.objective(config.objective)
    return mesh, Setting(
        config.model, config.adapter, config.optim, config.device, mesh, "einsum", objective,
        config.training.batch_size, config.data.max_tokens, LossChunk.of_cpu(config.model.vocab_size),
    )  # fmt: skip


@functools.cache
def memory(kind, loop, remat):
    """Bytes of the blocks' frozen products, and of all that the compiled step reads and that it makes."""
    mesh, setting = compiled_setting(kind, loop, remat)
    graphdef, arguments = setting.arguments
    compiled = compile_step(
        graphdef, optim.structure(setting.optim), setting.objective.loss, mesh, *arguments
    )
    blocks = arguments[-1].frozen[0]["blocks"]
    products = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(blocks) if leaf.ndim > 1)
    figures = compiled.memory_analysis()
    return products, figures.argument_size_in_bytes, figures.temp_size_in_bytes, footprint(setting).parts


INT8, NF4 = ("int8", 0.53125), ("nf4", 0.28125)


@pytest.mark.parametrize(
    ("kind", "share", "loop", "remat"),
    [(*NF4, "scan", "block"), (*INT8, "scan", "none"), (*NF4, "unroll", "none")],
)
def test_the_compiler_counts_the_bytes_of_codes_and_scales_and_no_second_model(kind, share, loop, remat):
    plain, plain_arguments, plain_temporaries, _ = memory(None, loop, remat)
    held, held_arguments, temporaries, parts = memory(kind, loop, remat)
    assert held / (plain / 2) == pytest.approx(share, rel=0.01)  # of bfloat16
    assert plain_arguments - held_arguments == plain - held
    # One layer of three is dequantized at a time; all of them would be as much again as the model.
    assert temporaries - plain_temporaries < plain / 3
    assert held_arguments == pytest.approx(parts.parameters + parts.optimizer_state, rel=0.01)
