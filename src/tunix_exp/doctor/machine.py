"""Devices, drivers, memory, disk, and the places that are written to."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from tunix_exp.device import topology
from tunix_exp.doctor.finding import Finding

_TIMEOUT_S = 120
_GIB = 2**30
# The default run holds about 1 GiB and leaves 30 MB; a checkpoint of 2.5B parameters with AdamW's state takes
# 30 GB.
LEAST_MEMORY, LITTLE_MEMORY = 1 * _GIB, 3 * _GIB
LEAST_DISK, LITTLE_DISK = _GIB // 4, 30 * _GIB
# PCI: Google, and its TPUs from v2 on (its network cards have the same vendor).
_GOOGLE, _TPUS = "0x1ae0", {"0x0027", "0x0056", "0x005e", "0x0062", "0x0063", "0x006f", "0x0076"}

# In a process of its own: JAX holds the device that it finds, and may wait for one that another holds.
_LOOK = """
import json, jax, jax.numpy as jnp
devices = jax.devices()
total = float((jnp.ones((64, 64)) @ jnp.ones((64, 64))).sum())
kinds = [device.device_kind for device in devices]
print(json.dumps({"platform": devices[0].platform, "kinds": kinds, "total": total}))
"""


def devices(*, has_nvidia: bool, has_tpu: bool) -> Finding:
    """The devices that JAX finds and computes on, against those that the machine has."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _LOOK], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding(
            "devices",
            "fail",
            f"JAX found no device within {_TIMEOUT_S} s",
            "another process may hold it (nvidia-smi, tpu-info); or choose JAX_PLATFORMS=cpu",
        )
    return devices_said(done.returncode, done.stdout, done.stderr, has_nvidia=has_nvidia, has_tpu=has_tpu)


def devices_said(status: int, out: str, error: str, *, has_nvidia: bool, has_tpu: bool) -> Finding:
    """What JAX's answer amounts to."""
    lines = out.strip().splitlines()
    if status != 0 or not lines:
        last = (error.strip().splitlines() or ["it said nothing"])[-1]
        return Finding(
            "devices", "fail", f"JAX does not start: {last}", "uv sync --locked, or JAX_PLATFORMS=cpu"
        )
    said = json.loads(lines[-1])
    if said["total"] != 64**3:
        return Finding(
            "devices", "fail", f"JAX computes wrong: {said['total']} for {64**3}", "try another device"
        )
    kinds = {kind: said["kinds"].count(kind) for kind in said["kinds"]}
    says = f"JAX computes on {said['platform']}: " + ", ".join(f"{n} × {kind}" for kind, n in kinds.items())
    if said["platform"] == "cpu" and (has_nvidia or has_tpu):
        extra = "cuda" if has_nvidia else "tpu"
        what = "an NVIDIA GPU" if has_nvidia else "a TPU"
        return Finding(
            "devices",
            "warn",
            f"{says}, though {what} is here",
            f"uv sync --extra {extra}; JAX_PLATFORMS must not keep to cpu",
        )
    return Finding("devices", "ok", says)


def tpu(*, has_tpu: bool) -> Finding:
    """Whether programs for TPUs can be compiled here."""
    missing = topology.why_not_compiled()
    if missing is None:
        return Finding("tpu", "ok", "the TPU compiler is installed: mode=preflight device=tpu-v5e-8 asks it")
    if has_tpu:
        return Finding("tpu", "warn", "a TPU is here, but libtpu is not installed", topology.INSTALL)
    return Finding("tpu", "ok", f"no TPU is here; to ask its compiler all the same: {topology.INSTALL}")


def has_tpu(pci: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Whether a TPU sits on this machine's PCI bus."""
    for vendor in pci.glob("*/vendor"):
        device = vendor.with_name("device").read_text().strip()
        if vendor.read_text().strip() == _GOOGLE and device in _TPUS:
            return True
    return False


def memory(total: int, available: int) -> Finding:
    """The host's memory."""
    says = f"{available / _GIB:.1f} of {total / _GIB:.1f} GiB free"
    if available < LEAST_MEMORY:
        return Finding("memory", "fail", says, "end other programs: the default run holds about 1 GiB")
    if available < LITTLE_MEMORY:
        return Finding("memory", "warn", says, "enough for the default run; plan.json tells what others need")
    return Finding("memory", "ok", says)


def host_memory() -> Finding:
    """The memory of this host, now."""
    now = psutil.virtual_memory()
    return memory(now.total, now.available)


def disk(free: int, place: Path) -> Finding:
    """The room where runs are written."""
    says = f"{free / _GIB:.1f} GiB free at {place}"
    elsewhere = "hydra.run.dir=PATH writes a run elsewhere"
    if free < LEAST_DISK:
        return Finding("disk", "fail", says, f"free some; {elsewhere}")
    if free < LITTLE_DISK:
        remedy = f"enough for small models; a full checkpoint of 2.5B parameters is 30 GB; {elsewhere}"
        return Finding("disk", "warn", says, remedy)
    return Finding("disk", "ok", says)


def places(named: Mapping[str, Path]) -> Iterator[Finding]:
    """Whether each place can be written, or made where it is not there yet."""
    for what, place in named.items():
        near = nearest(place)
        says = f"{what}: {place}{'' if near == place else ', not there yet'}"
        try:
            with tempfile.TemporaryFile(dir=near):
                pass
        except OSError as error:
            yield Finding("writable", "fail", f"{says}: {error.strerror}", f"make {near} writable")
        else:
            yield Finding("writable", "ok", says)


def nearest(place: Path) -> Path:
    """`place`, or the nearest folder above it that is there."""
    return next(folder for folder in (place, *place.parents) if folder.exists())


def compilation_cache(place: Path) -> Finding:
    """What JAX has kept of compiled programs, so that the next run compiles less."""
    files = [entry for entry in os.scandir(place) if entry.is_file()] if place.is_dir() else []
    programs = sum(entry.name.endswith("-cache") for entry in files)
    size = sum(entry.stat().st_size for entry in files) / 2**20
    return Finding("cache", "ok", f"{programs} compiled programs, {size:.0f} MiB, at {place}")
