"""The same experiment on one device and split over eight: the same losses, the parameters really apart."""

import functools
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.closeness import assert_close, model_roundings
from tests.models.toys import toy_config

STEP = model_roundings(toy_config(width=32, mlp_width=64, vocab_size=64), 16, passes=3)

# A process of its own: the number of virtual devices is fixed when JAX starts.
_PROGRAM = """
import json, sys
import jax, numpy as np
from flax import nnx
from types import SimpleNamespace
from tests.models.lora_toys import grouped_config, lora_config
from tests.models.toys import toy_config
from tests.training.toy import ADAMW, SFT
from tunix_exp.device.config import MeshConfig
from tunix_exp.device.mesh import make_mesh
from tunix_exp.evaluation.evaluate import item_losses
from tunix_exp.evaluation.generate import generate
from tunix_exp.models import lora, weights
from tunix_exp.models.architecture import abstract, build
from tunix_exp.models.digest import weight_hash
from tunix_exp.models.loss_chunk import LossChunk
from tunix_exp.objectives.objective import Held
from tunix_exp.objectives.sft.batch import BatchArrays
from tunix_exp.training import optim
from tunix_exp.training.step import abstract_arguments, compile_step, make_step, placed_state

FLOAT32 = {"param_dtype": "float32", "compute_dtype": "float32"}

def mesh_of(data, fsdp, tensor):
    config = SimpleNamespace(mesh=MeshConfig(data=data, fsdp=fsdp, tensor=tensor))
    return make_mesh(config, jax.devices()[: data * fsdp * tensor])

def trained(shape, family, loop):
    mesh = mesh_of(*shape)
    if family == "gpt2":
        sizes = {"vocab_size": 64, "num_positions": 32, "width": 32, "mlp_width": 64}
        model = toy_config(**sizes, num_layers=2, num_heads=4, layer_loop=loop)
    else:
        model = grouped_config(family, layer_loop=loop, vocab_size=64, width=32, mlp_width=64)
    made = abstract(model, **FLOAT32)
    made.loss_chunk = LossChunk(5, None)  # several to a row
    graphdef, shapes = nnx.split(made)
    structure, scalars = optim.structure(ADAMW), optim.scalars(ADAMW, total_steps=10)
    sizes = {"mesh": mesh, "state_dtype": "float32"}
    arguments = abstract_arguments(structure, shapes, SFT.shapes(8, 16), scalars, **sizes)
    step = compile_step(graphdef, structure, SFT.loss, mesh, *arguments)
    state = placed_state(structure, nnx.state(build(model, **FLOAT32, seed=0, mesh=mesh)), "float32", mesh)
    held = [0] * len(jax.devices())
    for leaf in jax.tree.leaves((state.params, state.opt_state)):
        for shard in leaf.addressable_shards:
            held[shard.device.id] += shard.data.nbytes
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(10):
        tokens = rng.integers(1, 60, (8, 16), dtype=np.int32)
        mask = np.broadcast_to(np.arange(16) >= 5, (8, 16))
        batch = BatchArrays(tokens, np.ones((8, 16), np.int32), mask.copy())
        state, metrics = step(state, batch, scalars, Held())
        losses.append(float(metrics.loss))
    return {"losses": losses, "bytes": held}

def evaluated(shape, family):
    mesh = mesh_of(*shape)
    config = grouped_config(family, layer_loop="scan", vocab_size=64, width=32, mlp_width=64)
    model = build(config, **FLOAT32, seed=0, mesh=mesh)
    prompts = [[1 + i] * (2 + i) for i in range(5)]
    made = generate(model, prompts, max_new_tokens=6, eos_ids=(), pad_id=0, batch_size=8)
    items = [
        SimpleNamespace(
            tokens_T=np.array([*p, 7, 9]),
            learnt_T=np.array([*[False] * len(p), True, True]),
            example=SimpleNamespace(id=str(i)),
        )
        for i, p in enumerate(prompts)
    ]
    losses = [loss.nats for loss in item_losses(model, items)]
    return {"tokens": [one.tokens for one in made], "losses": losses, "devices": devices_of(nnx.state(model))}

def quantized(shape, kind):
    mesh = mesh_of(*shape)
    sizes = {"vocab_size": 64, "width": 128, "mlp_width": 256, "quantize": kind}
    config = grouped_config("gemma2", layer_loop="scan", **sizes)
    model = weights.load(config, lora_config(targets=("all",)), **FLOAT32, seed=0, mesh=mesh).model
    graphdef, trained, frozen = lora.split(model)
    structure, scalars = optim.structure(ADAMW), optim.scalars(ADAMW, total_steps=5)
    state = placed_state(structure, trained, "float32", mesh)
    step = make_step(graphdef, structure, SFT.loss)
    rng, losses = np.random.default_rng(0), []
    with jax.set_mesh(mesh):
        for _ in range(5):
            tokens = rng.integers(1, 60, (8, 16), dtype=np.int32)
            batch = BatchArrays(tokens, np.ones((8, 16), np.int32), np.ones((8, 16), bool))
            state, metrics = step(state, batch, scalars, Held(frozen))
            losses.append(float(metrics.loss))
    held = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(frozen))
    found = {"losses": losses, "bytes": held, "hash": weight_hash(frozen[0])}
    return found | {"devices": devices_of(frozen)}

def devices_of(tree):
    return len({device for leaf in jax.tree.leaves(tree) for device in leaf.devices()})

print(json.dumps([globals()[name](*words) for name, *words in json.loads(sys.argv[1])]))
"""

ALONE = (1, 1, 1)

CASES = {
    ("gpt2", "unroll"): [((8, 1, 1), 1.0), ((2, 4, 1), 0.3), ((1, 4, 2), 0.2)],
    ("gemma2", "scan"): [((1, 4, 2), 0.2)],
    ("qwen2", "scan"): [((1, 4, 2), 0.2)],  # with an output table of its own
    ("recurrent_gemma", "scan"): [((1, 4, 2), 0.2)],
}


FAMILIES = ("gemma2", "qwen2", "recurrent_gemma")
QUANTIZED = ("nf4",)

ASKED = [("trained", mesh, *case) for case in CASES for mesh in (ALONE, *(mesh for mesh, _ in CASES[case]))]
ASKED += [("evaluated", mesh, family) for family in FAMILIES for mesh in (ALONE, (1, 8, 1))]
ASKED += [("quantized", mesh, kind) for kind in QUANTIZED for mesh in (ALONE, (1, 4, 2))]


@functools.cache
def found() -> dict[tuple[object, ...], dict[str, Any]]:
    """What was asked, on every mesh of some of eight devices, and what came of it."""
    environ = {
        **os.environ,
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8",
    }
    words = [sys.executable, "-c", _PROGRAM, json.dumps(ASKED)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(ASKED, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(("family", "loop"), CASES)
def test_every_mesh_gives_the_losses_of_one_device_with_less_on_each(family, loop):
    alone = found()["trained", ALONE, family, loop]
    assert alone["bytes"][1:] == [0] * 7
    for mesh, share in CASES[family, loop]:
        split = found()["trained", mesh, family, loop]
        assert_close(split["losses"], alone["losses"], roundings=10 * STEP)
        assert max(split["bytes"]) <= share * alone["bytes"][0], (mesh, split["bytes"], alone["bytes"])


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_split_over_eight_devices_the_answers_and_losses_are_those_of_one(family):
    alone, split = (found()["evaluated", mesh, family] for mesh in (ALONE, (1, 8, 1)))
    assert (alone["devices"], split["devices"]) == (1, 8)
    assert split["tokens"] == alone["tokens"]
    assert_close(split["losses"], alone["losses"], roundings=STEP)


@pytest.mark.slow
@pytest.mark.parametrize("kind", QUANTIZED)
def test_a_quantized_base_is_split_over_eight_devices_and_gives_the_losses_of_one(kind):
    alone, split = (found()["quantized", mesh, kind] for mesh in (ALONE, (1, 4, 2)))
    assert (alone["devices"], split["devices"]) == (1, 8)
    assert_close(split["losses"], alone["losses"], roundings=20 * STEP)
    assert split["hash"] == alone["hash"]
    assert split["bytes"] < 0.25 * alone["bytes"]
