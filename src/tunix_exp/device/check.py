"""That the demanded device is there and computes: asserted, tried, and written down."""

import os
import platform as machine
import shutil
import subprocess
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import psutil

from tunix_exp.device import environment, hosts, topology
from tunix_exp.device.config import DeviceConfig
from tunix_exp.device.mesh import AXES, make_mesh, mesh_shape
from tunix_exp.device.speed import GPUS, Speed
from tunix_exp.errors import UserError

_SIZE = 256


@dataclass(frozen=True)
class Device:
    """What JAX found: platform as in the config, its devices, bytes of memory on each, and the report.

    `topology` is the one that the config demands, or that is compiled for as no TPU is here, and
    `topology_reason` says so. `not_compiled` says why nothing can be compiled for it here, if so; its mesh
    then is of no devices.
    """

    platform: str
    device_kind: str
    topology: str | None
    topology_reason: str | None
    kinds: tuple[str, ...]
    memory_bytes: int
    mesh: jax.sharding.Mesh | jax.sharding.AbstractMesh
    of_process: int  # how many of the devices this process has
    report: str
    speed: Speed | None
    not_compiled: str | None


def check(config: DeviceConfig, *, preflight: bool) -> Device:
    """The devices of this process, after a compiled matrix product came out right on the first of them.

    In a preflight a TPU need not be here: the topology that is named, or named for this case, is compiled
    for, and nothing is computed on it.
    """
    if preflight and config.topology is not None:
        return _absent(config, config.topology, reason=None)
    try:
        devices = jax.devices()
        found = "gpu" if devices[0].platform in ("gpu", "cuda", "rocm") else str(devices[0].platform)
        lack = None if config.platform in ("auto", found) else f"but JAX runs on {found.upper()}"
    except (RuntimeError, AssertionError) as error:  # the latter where no plugin of that name is installed
        devices, found, lack = [], "", f"and JAX finds none: {_first_line(error)}"
    if lack is not None and preflight and config.topology_when_absent is not None:
        _compile_only()
        reason = f"device.topology_when_absent, as a TPU is asked for, {lack}"
        return _absent(config, config.topology_when_absent, reason)
    if lack is not None:
        raise UserError(
            f"device={config.platform} needs a {config.platform.upper()}, {lack}",
            where="device.platform",
            remedy=_remedy(config),
        )
    if config.topology is not None:
        _check_topology(config.topology, devices)
    if len(devices) < config.min_devices:
        raise UserError(
            f"device.min_devices={config.min_devices}, but JAX sees {len(devices)}: {devices}",
            where="device.min_devices",
            remedy="run where they are, or lower the number",
        )
    mesh = make_mesh(config, devices)
    own = jax.local_devices()
    error = _matmul_error(own[0])
    # what is planned with it must be the same everywhere
    memory = min(hosts.everyone("device memory", _memory_bytes(own[0], config)))
    chosen = (
        f"device=auto took {found}: the first that JAX found here.\n" if config.platform == "auto" else ""
    )
    report = (
        f"{chosen}platform {found}, {len(devices)} device(s)\n"
        + "".join(f"  {d} · {d.device_kind}\n" for d in devices)
        + f"mesh: {', '.join(f'{axis} {size}' for axis, size in mesh.shape.items())}\n"
        f"memory assumed: {memory / 2**30:.2f} GiB per device{_share(config, found)}\n"
        f"compiled {_SIZE} × {_SIZE} float32 matrix product on {own[0]}: largest error {error:.2e}\n\n"
        f"{_tool_output(found)}"
    )
    kinds = tuple(f"{d} · {d.device_kind}" for d in devices)
    return Device(
        found,
        devices[0].device_kind,
        config.topology,
        None,
        kinds,
        memory,
        mesh,
        len(own),
        report,
        published_speed(devices),
        None,
    )


def _compile_only() -> None:
    """JAX computes on the host from now on, and the TPU's compiler looks for no TPU."""
    os.environ.update(environment.COMPILER_ONLY)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_compilation_cache_dir", None)  # as in `environment.wanted`


def _absent(config: DeviceConfig, name: str, reason: str | None) -> Device:
    count, speed = topology.device_count(name), topology.generation(name)
    if count < config.min_devices:
        raise UserError(
            f"device.min_devices={config.min_devices}, but topology {name} has {count}",
            where="device.min_devices",
            remedy="name a larger topology, or lower the number",
        )
    memory_gib = speed.memory_gib if config.memory_gib is None else config.memory_gib
    not_compiled = topology.why_not_compiled()
    if not_compiled is None:
        mesh = make_mesh(config, topology.compile_only_devices(name))
    else:
        mesh = jax.sharding.AbstractMesh(mesh_shape(config.mesh, count), AXES)
    report = (
        f"topology {name}, {count} × {speed.device_kind}, not attached: "
        f"{not_compiled or 'compile-only'}\n"
        + (f"reason: {reason}\n" if reason else "")
        + f"mesh: {', '.join(f'{axis} {size}' for axis, size in mesh.shape.items())}\n"
        f"memory assumed: {memory_gib:.2f} GiB per device\n"
    )
    kinds = (f"{count} × {speed.device_kind} of topology {name}, not attached",)
    memory = int(memory_gib * 2**30)
    return Device("tpu", speed.device_kind, name, reason, kinds, memory, mesh, 0, report, speed, not_compiled)


def _check_topology(name: str, devices: list[Any]) -> None:
    wanted, found = (
        (topology.device_count(name), topology.generation(name).device_kind),
        (
            len(devices),
            devices[0].device_kind,
        ),
    )
    if wanted != found:
        raise UserError(
            f"device.topology={name} is {wanted[0]} × {wanted[1]}, but here are {found[0]} × {found[1]}",
            where="device.topology",
            remedy="name the topology that is here, or device=tpu, which takes what is there",
        )


def peak_memory() -> tuple[Literal["device", "process"], int]:
    """The most bytes held so far: on the fullest device or, where devices do not tell, by the process.

    What a process holds is all that is resident of it, the program and its libraries too.
    """
    told = [device.memory_stats() for device in jax.local_devices()]
    peaks = [stats["peak_bytes_in_use"] for stats in told if stats and "peak_bytes_in_use" in stats]
    if peaks:
        return "device", max(peaks)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return "process", peak if machine.system() == "Darwin" else peak * 1024


def published_speed(devices: list[Any]) -> Speed | None:
    """What their maker says that the devices can do; `None` where no table has them."""
    known = (*topology.GENERATIONS.values(), *GPUS)
    speed = next((one for one in known if one.device_kind == devices[0].device_kind), None)
    if speed is None or devices[0].platform != "tpu":
        return speed
    # Whether a chip's two cores are two devices is up to the runtime.
    chips = {tuple(device.coords) for device in devices}
    return replace(speed, devices_per_chip=len(devices) // len(chips))


@jax.jit
def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision="highest")


def _matmul_error(device: Any) -> float:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((_SIZE, _SIZE), dtype=np.float32) for _ in range(2))
    computed = np.asarray(_product(jax.device_put(a, device), jax.device_put(b, device)))
    error = float(np.abs(computed - a.astype(np.float64) @ b.astype(np.float64)).max())
    if not error < 1e-2:
        raise UserError(
            f"{device} gets a {_SIZE} × {_SIZE} matrix product wrong by {error}",
            where="device check",
            remedy="the device or its driver is faulty; try another",
        )
    return error


def _memory_bytes(device: Any, config: DeviceConfig) -> int:
    if config.memory_gib is not None:
        return int(config.memory_gib * 2**30)
    if device.platform == "cpu":
        return psutil.virtual_memory().total
    return int(device.memory_stats()["bytes_limit"])


def _share(config: DeviceConfig, found: str) -> str:
    """What the memory of a GPU is a part of."""
    if found != "gpu" or config.memory_gib is not None:
        return ""
    if config.memory_fraction is not None:
        return f", device.memory_fraction={config.memory_fraction} of the card"
    return ", what JAX takes of the card (three quarters, unless device.memory_fraction says otherwise)"


def _tool_output(found: str) -> str:
    """What the vendor's own tool says, verbatim; on CPU the processor's name."""
    if found == "cpu":
        return f"{machine.processor() or machine.machine()}, {psutil.cpu_count()} logical processors\n"
    command = {"gpu": ["nvidia-smi"], "tpu": ["tpu-info"]}[found]
    if shutil.which(command[0]) is None:
        return f"{command[0]} is not installed here\n"
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


def _remedy(config: DeviceConfig) -> str:
    platform = config.platform
    extra = {"gpu": "uv sync --extra cuda", "tpu": topology.INSTALL}.get(platform)
    install = f"install its JAX ({extra}) on a machine that has one, or " if extra else ""
    other = f"{install}choose device=cpu; device=auto takes what is there"
    if platform != "tpu":
        return other
    unnamed = config.topology is None and config.topology_when_absent is None
    named = " device.topology_when_absent=v5e:2x4" if unnamed else ""
    return f"mode=preflight{named} tells without a TPU whether it would fit; to train, {other}"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "its plugin is not installed"
