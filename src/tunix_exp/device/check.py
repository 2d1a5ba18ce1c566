"""That the demanded device is there and computes: asserted, tried, and written down."""

import platform as machine
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import psutil

from tunix_exp.device.config import DeviceConfig
from tunix_exp.device.mesh import make_mesh
from tunix_exp.errors import UserError

_SIZE = 256


@dataclass(frozen=True)
class Device:
    """What JAX found: platform as in the config, its devices, bytes of memory on each, and the report."""

    platform: str
    kinds: tuple[str, ...]
    memory_bytes: int
    mesh: jax.sharding.Mesh
    report: str


def check(config: DeviceConfig) -> Device:
    """The devices of this process, after a compiled matrix product came out right on the first of them."""
    try:
        devices = jax.devices()
    except RuntimeError as error:
        raise UserError(
            f"device={config.platform} needs a {config.platform.upper()}, and JAX finds none: "
            f"{_first_line(error)}",
            where="device.platform",
            remedy=_remedy(config.platform),
        ) from None
    found = "gpu" if devices[0].platform in ("gpu", "cuda", "rocm") else str(devices[0].platform)
    if config.platform not in ("auto", found):
        raise UserError(
            f"device={config.platform} needs a {config.platform.upper()}, but JAX runs on {found.upper()}",
            where="device.platform",
            remedy=_remedy(config.platform),
        )
    if len(devices) < config.min_devices:
        raise UserError(
            f"device.min_devices={config.min_devices}, but JAX sees {len(devices)}: {devices}",
            where="device.min_devices",
            remedy="run where they are, or lower the number",
        )
    mesh = make_mesh(config, devices)
    error = _matmul_error(devices[0])
    memory = _memory_bytes(devices[0], config)
    chosen = (
        f"device=auto took {found}: the first that JAX found here.\n" if config.platform == "auto" else ""
    )
    report = (
        f"{chosen}platform {found}, {len(devices)} device(s)\n"
        + "".join(f"  {d} · {d.device_kind}\n" for d in devices)
        + f"mesh: {', '.join(f'{axis} {size}' for axis, size in mesh.shape.items())}\n"
        f"memory counted on: {memory / 2**30:.2f} GiB a device\n"
        f"compiled {_SIZE} × {_SIZE} float32 matrix product on {devices[0]}: largest error {error:.2e}\n\n"
        f"{_tool_output(found)}"
    )
    kinds = tuple(f"{d} · {d.device_kind}" for d in devices)
    return Device(found, kinds, memory, mesh, report)


def peak_memory_bytes(found: str) -> int:
    """The most memory held so far: on the first accelerator, or resident in this process on CPU."""
    if found != "cpu":
        return int(jax.devices()[0].memory_stats()["peak_bytes_in_use"])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if machine.system() == "Darwin" else peak * 1024


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


def _tool_output(found: str) -> str:
    """What the vendor's own tool says, verbatim; on CPU the processor's name."""
    if found == "cpu":
        return f"{machine.processor() or machine.machine()}, {psutil.cpu_count()} logical processors\n"
    command = {"gpu": ["nvidia-smi"], "tpu": ["tpu-info"]}[found]
    if shutil.which(command[0]) is None:
        return f"{command[0]} is not installed here\n"
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


def _remedy(platform: str) -> str:
    extra = {"gpu": "uv sync --extra cuda", "tpu": "uv sync --extra tpu"}.get(platform)
    install = f"install its JAX ({extra}) on a machine that has one, or " if extra else ""
    return f"{install}choose device=cpu; device=auto takes what is there"


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
