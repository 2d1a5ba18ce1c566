"""What crosses devices inside the loops of a compiled step: no more than must."""

import functools
import json
import os
import subprocess
import sys

import pytest

from tests.programs import Program, in_loops

# Sizes that no two axes share: what a collective carries is told by its shape.
V, D = 96, 32
_COMPILED = """
import json, sys
import jax
from flax import nnx
from types import SimpleNamespace
from tests.training.toy import ADAMW, SFT
from tests.models.lora_toys import grouped_config
from tunix_exp.device.config import MeshConfig
from tunix_exp.device.mesh import make_mesh
from tunix_exp.models.architecture import abstract
from tunix_exp.models.loss_chunk import LossChunk
from tunix_exp.training import optim
from tunix_exp.training.step import abstract_arguments, compile_step

topology, meshes = json.loads(sys.argv[1])
devices = jax.devices()
if topology:
    from tunix_exp.device.environment import COMPILER_ONLY
    from tunix_exp.device.topology import compile_only_devices
    import os
    os.environ.update(COMPILER_ONLY)
    devices = compile_only_devices(topology)
texts = []
for data, fsdp, tensor in meshes:
    mesh = make_mesh(SimpleNamespace(mesh=MeshConfig(data=data, fsdp=fsdp, tensor=tensor)), devices)
    sizes = {"vocab_size": 96, "width": 32, "mlp_width": 80}
    model = abstract(
        grouped_config("gemma2", layer_loop="scan", **sizes), param_dtype="float32", compute_dtype="float32"
    )
    model.loss_chunk = LossChunk(5, None)
    graphdef, shapes = nnx.split(model)
    structure, scalars = optim.structure(ADAMW), optim.scalars(ADAMW, total_steps=10)
    batch = SFT.shapes(len(devices), 20)
    arguments = abstract_arguments(structure, shapes, batch, scalars, mesh=mesh, state_dtype="float32")
    texts.append(compile_step(graphdef, structure, SFT.loss, mesh, *arguments).as_text())
print(json.dumps(texts))
"""
# By mesh, how often a step sums the table's gradient: of all chunks, where several groups of devices have a
# copy each, and where these are single devices that of the rows that are read by index.
SUMS = {(8, 1, 1): 2, (1, 8, 1): 0, (2, 4, 1): 1}
MESHES = tuple(SUMS)
TOPOLOGIES = {"v5e:2x4": ((8, 1, 1), (2, 4, 1)), "v5e:4x4": ((16, 1, 1), (2, 8, 1))}


@functools.cache
def compiled(topology, meshes):
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    words = [sys.executable, "-c", _COMPILED, json.dumps([topology, meshes])]
    environ = {**os.environ, "XLA_FLAGS": flags}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr[-3000:]
    texts = json.loads(done.stdout.splitlines()[-1])
    return {mesh: Program.of(text).collectives() for mesh, text in zip(meshes, texts, strict=True)}


def collectives(mesh):
    return compiled(None, MESHES)[mesh]


def of_table(found, split_over):
    """Those that carry a device's part of the table, or of its gradient."""
    return [one for one in found if any(shape.endswith(f"[{V // split_over},{D}]") for shape in one.shapes)]


@pytest.mark.slow
@pytest.mark.parametrize("mesh", MESHES)
def test_the_gradient_of_the_table_is_summed_once_a_step_and_not_once_a_chunk(mesh):
    moved = of_table(collectives(mesh), mesh[1])
    assert [(one.kind, one.depth) for one in moved] == [("all-reduce", 0)] * SUMS[mesh]


@pytest.mark.slow
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_nothing_of_the_table_crosses_tpus_inside_a_loop(topology):
    pytest.importorskip("libtpu", reason="the TPU compiler is an extra: uv sync --extra tpu")
    for mesh, found in compiled(topology, TOPOLOGIES[topology]).items():
        moved = of_table(found, mesh[1])
        assert moved
        assert not [one for one in moved if one.depth], mesh


@pytest.mark.slow
@pytest.mark.parametrize("mesh", MESHES)
def test_the_weights_of_a_layer_are_gathered_once_a_pass_and_their_gradients_summed_once(mesh):
    of_mlp = {"f32[32,80]", "f32[80,32]"}
    looped = in_loops(collectives(mesh), least=4 * 32 * 80)
    gathered = {shapes: n for (kind, shapes), n in looped.items() if kind == "all-gather"}
    # The gate and the way up, and the way down: in the forward pass, and in the backward pass again.
    assert {shapes: n for shapes, n in gathered.items() if of_mlp & {*shapes}} == (
        {("f32[32,80]",): 4, ("f32[80,32]",): 2} if mesh[1] > 1 else {}
    )
    summed = [shapes for (kind, shapes), n in looped.items() if kind == "all-reduce" and of_mlp & {*shapes}]
    assert len(summed) == 1
    assert [summed[0].count(shape) for shape in ("f32[32,80]", "f32[80,32]")] == [2, 1]
