"""How much memory a step takes, before any of it is taken."""

import math
from collections.abc import Mapping
from typing import Any

import jax

from tunix_exp.errors import UserError

GIB = 2**30


def tree_bytes(tree: Any) -> int:
    """Bytes of all arrays (or ShapeDtypeStructs) in `tree`."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def memory_plan(
    *,
    params: Any,
    opt_state: Any,
    batch: Any,
    compiled: Any,
    memory_bytes: int,
    platform: str,
    evaluation: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """plan.json: what is held, what the compiler says the step needs, and whether both fit.

    `peak_bytes` is the compiler's: arguments, plus outputs that do not reuse them, plus temporaries.
    `evaluation` holds the shapes that evaluation computes in, where there is any.
    """
    analysis = compiled.memory_analysis()
    figures = {
        "argument_bytes": analysis.argument_size_in_bytes,
        "output_bytes": analysis.output_size_in_bytes,
        "alias_bytes": analysis.alias_size_in_bytes,
        "temp_bytes": analysis.temp_size_in_bytes,
    }
    peak = (
        figures["argument_bytes"] + figures["output_bytes"] - figures["alias_bytes"] + figures["temp_bytes"]
    )
    return {
        "platform": platform,
        "device_memory_bytes": memory_bytes,
        "held": {
            "parameters_bytes": tree_bytes(params),
            "gradients_bytes": tree_bytes(params),
            "optimizer_state_bytes": tree_bytes(opt_state),
            "batch_bytes": tree_bytes(batch),
        },
        "compiled_step": figures,
        "peak_bytes": peak,
        "evaluation": evaluation,
        "fits": peak <= memory_bytes,
    }


def describe(plan: Mapping[str, Any]) -> str:
    """The plan in one line of words."""
    gib = {name.removesuffix("_bytes"): size / GIB for name, size in plan["held"].items()}
    return (
        f"a step holds parameters {gib['parameters']:.3f}, gradients {gib['gradients']:.3f}, optimizer "
        f"{gib['optimizer_state']:.3f} GiB; compiled peak {plan['peak_bytes'] / GIB:.3f} of "
        f"{plan['device_memory_bytes'] / GIB:.2f} GiB"
    )


def guard(plan: Mapping[str, Any], guardrail: str) -> str | None:
    """Refuse a step that does not fit (`block`), or return the warning (`warn`); `off` says nothing."""
    if plan["fits"] or guardrail == "off":
        return None
    largest = max(plan["held"], key=plan["held"].__getitem__)
    text = (
        f"the step does not fit: {describe(plan)}; "
        f"the largest part is {largest.removesuffix('_bytes').replace('_', ' ')}"
    )
    if guardrail == "warn":
        return text
    raise UserError(
        text,
        where="device.guardrail",
        remedy="lower training.batch_size or data.max_tokens, raise optim.accumulation_steps, or choose"
        " optim=adafactor; device.guardrail=warn goes on all the same",
    )
