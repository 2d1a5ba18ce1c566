"""TPUs that are not here: the compiler makes programs for them all the same."""

import importlib.util
import math
from dataclasses import dataclass
from typing import Any

from tunix_exp.device.speed import Speed
from tunix_exp.errors import UserError

INSTALL = "uv sync --extra tpu"


@dataclass(frozen=True)
class Generation(Speed):
    """One TPU generation, and the memory of its devices."""

    memory_gib: float  # of a device, as far as a program may use it


# Peaks and bandwidths: Google Cloud TPU documentation, "System architecture", one page a generation
# (cloud.google.com/tpu/docs/v2 … /v6e). A v2, v3 or v4 chip has two cores with memory of their own each,
# which JAX counts as devices here. Memory: what the compiler says when a program takes too much ("exceeds
# available HBM", libtpu 0.0.42).
GENERATIONS = {
    "v2": Generation("TPU v2", 2, 45e12, 700e9, 7.48),
    "v3": Generation("TPU v3", 2, 123e12, 900e9, 15.48),
    "v4": Generation("TPU v4", 2, 275e12, 1228e9, 15.25),
    "v5e": Generation("TPU v5 lite", 1, 197e12, 819e9, 15.75),
    "v5p": Generation("TPU v5", 1, 459e12, 2765e9, 95.74),
    "v6e": Generation("TPU v6 lite", 1, 918e12, 1640e9, 31.25),
}


def generation(topology: str) -> Generation:
    """The generation that a topology is of; one that is not known is refused."""
    name = topology.split(":")[0]
    if name not in GENERATIONS:
        raise UserError(
            f"device.topology={topology}: no TPU {name} is known",
            where="device.topology",
            remedy=f"one of {', '.join(GENERATIONS)}, a colon and the chips along each side, as v5e:2x4",
        )
    return GENERATIONS[name]


def device_count(topology: str) -> int:
    """How many devices a topology has."""
    return math.prod(_sides(topology)) * generation(topology).devices_per_chip


def why_not_compiled() -> str | None:
    """Why nothing can be compiled for a TPU here, with the remedy; `None` where it can."""
    if importlib.util.find_spec("libtpu") is not None:
        return None
    return f"the TPU compiler is not installed here: `{INSTALL}` adds it (Linux on x86-64)"


def compile_only_devices(topology: str) -> list[Any]:
    """Devices for which `compile()` works and nothing else; the TPU compiler must be installed."""
    from jax.errors import JaxRuntimeError
    from jax.experimental import topologies

    sides = (*_sides(topology), 1)[:3]
    try:
        # Fewer chips than the four of a usual host must be said to sit on a smaller one.
        bounds = [min(side, usual) for side, usual in zip(sides, (2, 2, 1), strict=True)]
        description = topologies.get_topology_desc(
            platform="tpu", topology_name=topology, chips_per_host_bounds=bounds
        )
    except JaxRuntimeError as error:
        raise UserError(
            f"the TPU compiler knows no topology {topology}: {str(error).splitlines()[0]}",
            where="device.topology",
            remedy="v5e:2x4 is known; a side of more than two chips must be even",
        ) from None
    return list(description.devices)


def _sides(topology: str) -> tuple[int, ...]:
    return tuple(int(side) for side in topology.split(":")[1].split("x"))
