"""The device group: which platform the run demands and how numbers are held on it."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from tunix_exp.schema import Config

FloatType = Literal["float32", "bfloat16"]


MeshAxis = PositiveInt | Literal["rest"]


class MeshConfig(Config):
    """Devices along each axis of the mesh; at most one axis is `rest` and takes what the others leave."""

    data: MeshAxis
    fsdp: MeshAxis
    tensor: MeshAxis

    @model_validator(mode="after")
    def _one_rest_at_most(self) -> "MeshConfig":
        if [self.data, self.fsdp, self.tensor].count("rest") > 1:
            raise ValueError("more than one axis of the mesh is `rest`")
        return self


class DeviceConfig(Config):
    """A platform that must be there, its environment, number formats and memory budget."""

    platform: Literal["auto", "cpu", "gpu", "tpu"]
    topology: Annotated[str, Field(pattern=r"^v\d+[a-z]*:\d+x\d+(x\d+)?$")] | None  # of a TPU, as v5e:2x4
    min_devices: PositiveInt
    mesh: MeshConfig
    param_dtype: FloatType
    compute_dtype: FloatType
    state_dtype: FloatType
    matmul_precision: Literal["default", "high", "highest"]
    xla_flags: Annotated[tuple[str, ...], Field(strict=False)]
    memory_gib: PositiveFloat | None
    guardrail: Literal["block", "warn", "off"]
    compilation_cache: str | None

    @model_validator(mode="after")
    def _a_topology_is_of_a_tpu_and_has_a_budget(self) -> "DeviceConfig":
        if self.topology is not None and self.platform != "tpu":
            raise ValueError(f"topology {self.topology} is of a TPU, and the platform is {self.platform}")
        if self.topology is not None and self.memory_gib is None:
            raise ValueError(
                f"topology {self.topology} needs memory_gib: what is not here cannot be asked how much it has"
            )
        return self
