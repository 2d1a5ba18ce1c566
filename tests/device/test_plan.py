import dataclasses

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tunix_exp.device.plan import (
    GIB,
    Compiled,
    Parts,
    Plan,
    Remedy,
    Work,
    compiled_figures,
    device_bytes,
    gib,
    guard,
    out_of_memory,
)
from tunix_exp.device.topology import GENERATIONS
from tunix_exp.errors import UserError
from tunix_exp.evidence.console import table_text

PARTS = Parts(
    parameters=2 * GIB, gradients=GIB, block_gradients=GIB, optimizer_state=4 * GIB, compute_weights=GIB,
    saved_activations=GIB, block=3 * GIB, loss=GIB, batch=1024,
)  # fmt: skip
REMEDIES = [Remedy("optim=adafactor", "another optimizer", 9 * GIB), Remedy("x=1", "nothing", 20 * GIB)]


def plan_of(memory_gib, **changes):
    settled = {
        "platform": "tpu", "topology": "v5e:2x4", "topology_reason": None,
        "mesh": {"data": 1, "fsdp": 8, "tensor": 1},
        "device_memory_bytes": int(memory_gib * GIB), "parts": PARTS,
        "work": Work(model_flops=1e12, flops=2e12, hbm_bytes=1e9), "speed": GENERATIONS["v5e"],
        "evaluation": None, "attention": {"kernel": "einsum", "reason": "it was asked for"},
        "loss_chunk": {"tokens": 131, "words": None, "reason": "so"}, "remat": None,
    }  # fmt: skip
    return Plan(**settled | changes)


def program(peak_gib):
    return Compiled(0, 0, 0, 0, 0, int(peak_gib * GIB))


def test_the_bytes_of_a_device_follow_type_and_sharding():
    mesh = AbstractMesh((1, 4, 1), ("data", "fsdp", "tensor"))
    apart, whole = NamedSharding(mesh, P("fsdp")), NamedSharding(mesh, P())
    tree = [
        jax.ShapeDtypeStruct((8, 5), jnp.bfloat16, sharding=apart),
        jax.ShapeDtypeStruct((), jnp.int32, sharding=whole),
    ]
    assert device_bytes(tree) == 2 * 5 * 2 + 4


def test_the_total_counts_the_larger_of_the_loss_and_the_blocks_backward_pass_with_its_gradients():
    assert PARTS.total == 13 * GIB + 1024
    assert dataclasses.replace(PARTS, loss=4 * GIB).total == 13 * GIB + 1024
    assert dataclasses.replace(PARTS, loss=5 * GIB).total == 14 * GIB + 1024
    assert PARTS.largest == ("optimizer state", 4 * GIB)


def test_the_compiler_is_asked_for_what_lives_at_a_time():
    x = jax.ShapeDtypeStruct((256, 256), jnp.float32)
    program = jax.jit(lambda a, b: jnp.sort(a @ b) @ b).lower(x, x).compile()
    figures = compiled_figures(program, "cpu")
    assert figures.argument_bytes == 2 * 256 * 256 * 4
    assert figures.temp_bytes >= 256 * 256 * 4
    assert figures.peak_bytes == figures.argument_bytes + figures.output_bytes + figures.temp_bytes
    on_tpu = compiled_figures(program, "tpu")
    assert on_tpu.peak_bytes == program.memory_analysis().peak_memory_in_bytes


def test_the_compiler_s_word_goes_before_the_arithmetic_s():
    assert plan_of(14).fits
    assert not plan_of(12).fits
    assert plan_of(12, step=program(11)).fits
    assert not plan_of(14, step=program(15)).fits
    assert not plan_of(14, step=program(11), answer=program(15)).fits


def test_each_compiled_program_is_told_by_its_own_figures():
    told = plan_of(14, step=program(11), answer=program(5)).to_json()
    assert [told[name]["peak_bytes"] // GIB for name in ("compiled", "compiled_answer")] == [11, 5]
    told = plan_of(14, step=program(11)).to_json()
    assert (told["compiled"]["peak_bytes"] // GIB, told["compiled_answer"]) == (11, None)


def test_a_plan_is_hopeless_when_what_is_certain_is_too_much_or_all_is_twice_too_much():
    assert not plan_of(8.1).is_hopeless
    assert plan_of(7.9).is_hopeless
    activations = dataclasses.replace(PARTS, block=13 * GIB)  # 23 GiB in all
    assert not plan_of(12, parts=activations).is_hopeless
    assert plan_of(11, parts=activations).is_hopeless


def test_what_does_not_fit_is_refused_with_the_largest_part_and_remedies():
    with pytest.raises(
        UserError,
        match=r"(?s)does not fit.*planned 13\.00 of 8\.00 GiB.*optimizer state 4\.00"
        r".*largest part is optimizer state, 4\.00 GiB"
        r".*optim=adafactor \(another optimizer\): 9\.00 GiB, still too much.*guardrail=warn",
    ):
        guard(plan_of(8), "block", lambda: REMEDIES)
    with pytest.raises(UserError, match=r"optim=adafactor \(another optimizer\): 9\.00 GiB, fits"):
        guard(plan_of(10), "block", lambda: REMEDIES)


def test_the_guardrail_warns_or_is_off_by_name():
    assert "does not fit" in str(guard(plan_of(8), "warn", lambda: REMEDIES))
    assert guard(plan_of(8), "off", lambda: REMEDIES) is None
    assert guard(plan_of(16), "block", lambda: REMEDIES) is None


@pytest.mark.parametrize(
    "text",
    [
        "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required (23.59G)\nmore",
        "XLA:TPU compile permanent error. CompileTimeHbmOom: Used 19.2G of 15.75G hbm.",
    ],
)
def test_the_compiler_s_refusal_is_kept_in_its_own_words(text):
    words = out_of_memory(jax.errors.JaxRuntimeError(text))
    assert words == f"the compiler says: {text.splitlines()[0]}"
    refused = plan_of(100).refused_by(words)
    assert not refused.fits
    with pytest.raises(UserError, match="does not fit: the compiler says"):
        guard(refused, "block", lambda: REMEDIES)


def test_another_error_of_the_compiler_is_no_refusal():
    assert out_of_memory(jax.errors.JaxRuntimeError("INTERNAL: no")) is None


def test_the_roofline_takes_the_slower_of_compute_and_memory():
    v5e, v3 = GENERATIONS["v5e"], GENERATIONS["v3"]
    assert Work(0, 197e12, 1.0).seconds(v5e) == (1.0, "compute")
    assert Work(0, 1.0, 819e9).seconds(v5e) == (1.0, "memory")
    assert Work(0, 61.5e12, 1.0).seconds(v3) == (1.0, "compute")  # a core is half a chip


def test_the_file_holds_plan_and_compiler_side_by_side():
    told = plan_of(16, step=program(12.5)).to_json()
    assert told["planned"]["total_bytes"] == PARTS.total
    assert told["compiled"]["peak_bytes"] == int(12.5 * GIB)
    assert (told["compiled_answer"], told["not_compiled"], told["fits"]) == (None, None, True)
    assert told["work"]["bound"] == "compute"


def test_without_a_compiler_the_file_says_why():
    told = plan_of(16, not_compiled="the TPU compiler is not installed").to_json()
    assert told["compiled"] is None
    assert told["not_compiled"] == "the TPU compiler is not installed"
    assert told["fits"]


def test_table_and_words_name_every_part():
    plan = plan_of(16, step=program(12.5))
    cells = list(plan.table().columns[0].cells)
    assert "optimizer state" in cells
    assert "compiled step" in cells
    assert "the step fits: compiled peak 12.50 of 16.00 GiB per device" in plan.describe()
    assert "roofline 0.010 s (compute-bound)" in plan.describe()


def test_a_small_part_is_not_told_as_nothing():
    assert (gib(2 * GIB), gib(GIB // 1000), gib(0)) == ("2.00", "0.001", "0.00")


def test_the_memory_of_a_card_is_said_to_be_what_jax_takes_of_it_and_how_that_is_set():
    card, other = (table_text(plan_of(104.85, platform=platform).table()) for platform in ("gpu", "tpu"))
    assert "as much of the card as JAX takes (device.memory_fraction)" in card
    assert "memory_fraction" not in other
