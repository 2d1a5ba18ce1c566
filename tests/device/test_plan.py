import jax
import jax.numpy as jnp
import pytest

from tunix_exp.device.plan import describe, guard, memory_plan, tree_bytes
from tunix_exp.errors import UserError


def plan_of(memory_bytes):
    x = jax.ShapeDtypeStruct((256, 256), jnp.float32)
    compiled = jax.jit(lambda a, b: a @ b + a).lower(x, x).compile()
    held = {"params": {"w": x}, "opt_state": {"m": x, "v": x}, "batch": x}
    return memory_plan(**held, compiled=compiled, memory_bytes=memory_bytes, platform="cpu")


def test_a_plan_counts_what_is_held_and_what_the_compiler_says():
    plan = plan_of(2**30)
    size = 256 * 256 * 4
    assert plan["held"]["parameters_bytes"] == size
    assert plan["held"]["optimizer_state_bytes"] == 2 * size
    assert plan["compiled_step"]["argument_bytes"] == 2 * size
    assert plan["peak_bytes"] >= 3 * size
    assert plan["fits"]


def test_bytes_follow_the_type():
    tree = [jax.ShapeDtypeStruct((3, 5), jnp.bfloat16), jax.ShapeDtypeStruct((), jnp.int32)]
    assert tree_bytes(tree) == 34


def test_what_does_not_fit_is_refused_with_the_largest_part_and_remedies():
    with pytest.raises(
        UserError, match=r"(?s)does not fit.*largest part is optimizer state.*optim=adafactor"
    ):
        guard(plan_of(1000), "block")


def test_the_guardrail_warns_or_is_off_by_name():
    assert "does not fit" in str(guard(plan_of(1000), "warn"))
    assert guard(plan_of(1000), "off") is None
    assert guard(plan_of(2**30), "block") is None


def test_the_plan_in_words_names_every_part():
    assert "optimizer" in describe(plan_of(2**30))
