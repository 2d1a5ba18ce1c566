"""What a step takes, by arithmetic: the real models' shapes, nothing allocated."""

import json
from pathlib import Path

import jax
import pytest
from jax.sharding import AbstractMesh

from tests.composing import composed
from tests.running import TOY
from tunix_exp.config import validate
from tunix_exp.device.mesh import make_mesh, mesh_shape
from tunix_exp.device.plan import GIB, compiled_figures
from tunix_exp.device.topology import compile_only_devices, device_count
from tunix_exp.models.loss_chunk import LossChunk
from tunix_exp.objectives import registry
from tunix_exp.training import optim
from tunix_exp.training.config import AdafactorConfig
from tunix_exp.training.footprint import Setting, footprint, remedies
from tunix_exp.training.step import compile_step

ROOT = Path(__file__).resolve().parents[2]
GEMMA = ("model=gemma2b", "model.remat=block", "mode=preflight")
ONE_CHIP = (
    *GEMMA, "device=tpu-v5e-8", "device.topology=v5e:1x1", "device.min_devices=1",
    "device.param_dtype=bfloat16", "device.state_dtype=bfloat16", "optim.rounding=stochastic",
    "training.batch_size=1", "data.max_tokens=64",
)  # fmt: skip
EIGHT = (*GEMMA, "device=tpu-v5e-8", "training.batch_size=8", "data.max_tokens=2048")


def setting(*words, mesh=None, attention="einsum"):
    config = validate(composed(*words))
    if mesh is None:
        shape = mesh_shape(config.device.mesh, device_count(config.device.topology))
        mesh = AbstractMesh(shape, ("data", "fsdp", "tensor"))
    return Setting(
        config.model,
        config.adapter,
        config.optim,
        config.device,
        mesh,
        attention,
        registry.objective(config.objective),
        config.training.batch_size,
        config.data.max_tokens,
        LossChunk.of_cpu(config.model.vocab_size),
    )


def test_the_earlier_configuration_is_over_for_its_optimizer_state_not_its_vocabulary():
    parts = footprint(setting(*ONE_CHIP)).parts
    assert parts.certain > 15.75 * GIB
    assert parts.largest[0] == "optimizer state"
    assert parts.optimizer_state / GIB == pytest.approx(9.34, abs=0.01)
    assert parts.loss < GIB


def test_its_remedies_come_with_their_size_and_those_that_fit_come_first():
    ways = remedies(setting(*ONE_CHIP), int(15.75 * GIB))
    assert [way.words for way in ways] == ["adapter=lora", "device=tpu-v5e-8", "optim=adafactor"]
    assert all(way.total_bytes <= 15.75 * GIB for way in ways)
    less = remedies(setting(*ONE_CHIP), 5 * GIB)
    assert [way.words for way in less] == ["adapter=lora", "device=tpu-v5e-8", "optim=adafactor"]
    assert [way.total_bytes <= 5 * GIB for way in less] == [True, True, False]


def test_parameters_and_state_are_apart_over_eight_devices():
    one, eight = (
        footprint(setting(*EIGHT, mesh=AbstractMesh((1, n, 1), ("data", "fsdp", "tensor")))) for n in (1, 8)
    )
    assert eight.parts.optimizer_state < one.parts.optimizer_state / 7.9
    assert eight.parts.gradients + eight.parts.block_gradients == eight.parts.parameters
    assert eight.work.flops == pytest.approx(one.work.flops / 8)


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("gemma2b", 2048),
        ("gemma2b", 4096),
        ("llama32-1b", 2048),
        ("qwen3-0.6b", 2048),
        ("recurrentgemma-2b", 2048),
    ],
)
def test_the_plan_is_what_the_compiler_took(model, tokens):
    rows = map(json.loads, (ROOT / "bench" / "fit.jsonl").read_text().splitlines())
    wanted = {"model": model, "device": "tpu-v5e-8", "adapter": "none", "batch": 8, "tokens": tokens}
    (row,) = (row for row in rows if row.items() >= wanted.items())
    made = setting(*EIGHT, f"model={model}", f"data.max_tokens={tokens}", attention="splash")
    assert footprint(made).parts.total / GIB == pytest.approx(row["compiled_gib"], rel=0.05)


def test_model_operations_are_six_a_weight_and_token_and_twelve_a_pair_of_attention():
    config = validate(composed(*EIGHT)).model
    work = footprint(setting(*EIGHT)).work
    weights = 18 * (2 * 2048 * 2048 + 2 * 2048 * 256 + 3 * 2048 * 16384) + 256_000 * 2048
    tokens = 8 * 2048 / 8
    expected = 6 * weights * tokens + 12 * 2048 * 8 * 256 * config.num_layers * tokens
    assert work.model_flops == pytest.approx(expected, rel=1e-3)
    assert work.flops > work.model_flops


def test_only_the_blocks_that_attend_compute_pairs_of_attention():
    made = setting(*EIGHT, "model=recurrentgemma-2b")
    tokens = 8 * 2048 / 8
    expected = 6 * 2_682_862_080 * tokens + 12 * 2048 * 10 * 256 * 8 * tokens
    assert footprint(made).work.model_flops == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("remat", ["block", "none"])
def test_a_recurrence_is_held_in_float32(remat):
    words = (*EIGHT, "model=recurrentgemma-2b", f"model.remat={remat}", "model.mlp_width=256")
    narrow, wide = (
        footprint(setting(*words, f"model.recurrence_width={width}", attention="splash")).parts
        for width in (2560, 5120)
    )
    a_row = 4 * 2048 * 2560
    assert wide.block - narrow.block > 7 * a_row
    # of the 18 layers that have one, where nothing is computed again
    held = wide.saved_activations - narrow.saved_activations
    assert held == 0 if remat == "block" else held > 7 * 18 * a_row


def test_an_output_table_of_its_own_is_held_with_gradient_and_moments_and_makes_no_work():
    tied, own = (footprint(setting(*EIGHT, *words)) for words in ((), ("model.tied_embeddings=false",)))
    table = 4 * 256_000 * 2048 // 8
    assert own.parts.parameters - tied.parts.parameters == table
    assert own.parts.gradients - tied.parts.gradients == table
    assert own.parts.optimizer_state - tied.parts.optimizer_state == 2 * table
    assert (own.parts.loss, own.work.flops) == (tied.parts.loss, tied.work.flops)


def test_accumulation_halves_activations_and_keeps_a_sum_of_gradients():
    whole = footprint(setting(*EIGHT, "training.batch_size=64")).parts
    halves = footprint(setting(*EIGHT, "training.batch_size=64", "optim.accumulation_steps=2")).parts
    assert halves.saved_activations == whole.saved_activations // 2
    assert halves.block_gradients == whole.block_gradients
    assert halves.gradients == 2 * whole.gradients + whole.block_gradients


@pytest.mark.parametrize(("less", "more"), [("block", "dots"), ("dots", "none")])
def test_rematerialising_more_saves_less(less, more):
    kept = [footprint(setting(*EIGHT, f"model.remat={remat}")).parts for remat in (less, more)]
    assert kept[0].saved_activations < kept[1].saved_activations


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("model.remat=none", "training.batch_size=64"), "model.remat=block"),
        (("training.batch_size=256",), "optim.accumulation_steps=32"),
        (
            ("device.mesh.data=rest", "device.mesh.fsdp=1"),
            "device.mesh.data=1 device.mesh.fsdp=rest",
        ),
    ],
)
def test_the_cheapest_remedy_leaves_the_update_as_it_is(words, remedy):
    assert remedies(setting(*EIGHT, "adapter=lora", *words), int(15.75 * GIB))[0].words == remedy


def test_beside_an_adapter_frozen_weights_are_held_as_they_are_stored_and_nothing_is_held_for_them():
    full, adapter = (footprint(setting(*EIGHT, *words)).parts for words in ((), ("adapter=lora",)))
    assert adapter.parameters == pytest.approx(full.parameters / 2, rel=0.01)  # bfloat16, not float32
    assert adapter.gradients == 0
    assert adapter.block_gradients < 0.01 * adapter.parameters
    assert adapter.optimizer_state == pytest.approx(2 * adapter.block_gradients, abs=8)
    assert adapter.compute_weights < 0.01 * adapter.parameters


def test_the_work_beside_frozen_weights_lacks_the_product_that_makes_their_gradient():
    full, adapter = (footprint(setting(*EIGHT, *words)).work for words in ((), ("adapter=lora",)))
    assert 0.66 < adapter.model_flops / full.model_flops < 0.70


def test_an_adapter_is_foreseen_as_the_shipped_option_spells_it():
    foreseen = remedies(setting(*ONE_CHIP), int(15.75 * GIB))[0]
    assert foreseen.total_bytes == footprint(setting(*ONE_CHIP, "adapter=lora")).parts.total


def test_adafactor_is_foreseen_as_the_shipped_option_spells_it():
    foreseen = remedies(setting(*ONE_CHIP), int(15.75 * GIB))[2]
    shipped = setting(*ONE_CHIP, "optim=adafactor")
    assert isinstance(shipped.optim, AdafactorConfig)
    assert foreseen.total_bytes == footprint(shipped).parts.total


@pytest.mark.slow
@pytest.mark.parametrize("topology", ["v5e:2x4", "v3:2x2", "v6e:2x4"])
def test_a_step_is_compiled_for_a_tpu_that_is_not_here(topology):
    pytest.importorskip("libtpu", reason="the TPU compiler is an extra: uv sync --extra tpu")
    toy = [word for word in TOY if not word.startswith(("device", "model", "eval"))]
    words = (*toy, "model=tiny-gemma", "device=tpu-v5e-8", f"device.topology={topology}")
    config = validate(composed(*words, "training.batch_size=8", "eval=none"))
    mesh = make_mesh(config.device, compile_only_devices(topology))
    made = setting(*words, "training.batch_size=8", "eval=none", mesh=mesh)
    graphdef, arguments = made.arguments
    compiled = compile_step(graphdef, optim.structure(config.optim), made.objective.loss, mesh, *arguments)
    held = footprint(made).parts
    assert compiled_figures(compiled, "tpu").argument_bytes >= held.parameters + held.optimizer_state
    assert {device.platform for device in jax.tree.leaves(compiled.input_shardings)[0].device_set} == {"tpu"}
