"""The devices as a mesh: data, fsdp, tensor."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from tunix_exp.device.config import DeviceConfig, MeshConfig
from tunix_exp.errors import UserError

AXES = ("data", "fsdp", "tensor")


def mesh_shape(config: MeshConfig, n_devices: int) -> tuple[int, int, int]:
    """Devices along data, fsdp and tensor; the one that is `rest` takes what the others leave."""
    sizes = [getattr(config, axis) for axis in AXES]
    fixed = math.prod(size for size in sizes if size != "rest")
    if n_devices % fixed:
        raise UserError(
            f"{n_devices} devices cannot be laid out as {_mesh_text(config)}",
            where="device.mesh",
            remedy="choose sizes whose product is the number of devices; one of them may be `rest`",
        )
    shape = tuple(n_devices // fixed if size == "rest" else size for size in sizes)
    if math.prod(shape) != n_devices:
        raise UserError(
            f"device.mesh ({_mesh_text(config)}) uses {math.prod(shape)} of {n_devices} devices",
            where="device.mesh",
            remedy="set one axis to `rest`, or choose sizes whose product is the number of devices",
        )
    return shape[0], shape[1], shape[2]


def make_mesh(config: DeviceConfig, devices: Sequence[Any]) -> jax.sharding.Mesh:
    """All `devices` as a mesh of the config's shape."""
    shape = mesh_shape(config.mesh, len(devices))
    return jax.sharding.Mesh(np.asarray(devices).reshape(shape), AXES)


def _mesh_text(config: MeshConfig) -> str:
    return " × ".join(f"{axis} {getattr(config, axis)}" for axis in AXES)
