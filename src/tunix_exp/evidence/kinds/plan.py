"""`plan.json`: what a step, or an evaluation, needs of a device, and what the compiler says of it."""

from collections.abc import Mapping
from typing import Any

from tunix_exp.evidence.kinds.kind import Kind, always
from tunix_exp.evidence.opened import OpenedRun, lookup


def work(run: OpenedRun) -> tuple[float, float | None]:
    """The operations of the widest step, and the device's peak in a second where it is known."""
    says: Mapping[str, Any] = lookup(run.object(KIND), "work", KIND.path)
    return lookup(says, "model_flops", KIND.path), lookup(says, "peak_flops_per_s", KIND.path)


def device_memory_bytes(run: OpenedRun) -> int | None:
    """The memory that the plan counts on, where the run has a plan."""
    return lookup(run.object(KIND), "device_memory_bytes", KIND.path) if run.has(KIND.path) else None


def chosen_remat(says: Mapping[str, Any]) -> Any:
    """What the backward pass computes again, by what the plan `says`; `None` where nothing is trained."""
    chosen = lookup(says, "remat", KIND.path)
    return None if chosen is None else lookup(chosen, "chosen", KIND.path)


KIND = Kind(
    path="plan.json",
    name="memory plan",
    holds="the memory plan and the compiled step's own figures",
    when=always,
)
