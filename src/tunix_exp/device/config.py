"""The device group: which platform the run demands and how numbers are held on it."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from tunix_exp.schema import Config

FloatType = Literal["float32", "bfloat16"]


MeshAxis = PositiveInt | Literal["rest"]
Topology = Annotated[str, Field(pattern=r"^v\d+[a-z]*:\d+x\d+(x\d+)?$")]  # of a TPU, as v5e:2x4


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
    topology: Topology | None  # that the TPU must have
    topology_when_absent: Topology | None  # what a preflight compiles for where no TPU is found
    min_devices: PositiveInt
    mesh: MeshConfig
    param_dtype: FloatType
    compute_dtype: FloatType
    state_dtype: FloatType
    attention: Literal["auto", "einsum", "cudnn", "splash"]
    matmul_precision: Literal["default", "high", "highest"]
    xla_flags: Annotated[tuple[str, ...], Field(strict=False)]
    memory_gib: PositiveFloat | None  # null: what the device says, or what its kind is known to have
    guardrail: Literal["block", "warn", "off"]
    compilation_cache: str | None

    @model_validator(mode="after")
    def _topologies_are_of_a_tpu(self) -> "DeviceConfig":
        named = self.topology or self.topology_when_absent
        if named is not None and self.platform != "tpu":
            raise ValueError(f"topology {named} is of a TPU, and the platform is {self.platform}")
        if self.topology is not None and self.topology_when_absent is not None:
            raise ValueError(
                f"topology {self.topology} is compiled for as it is; topology_when_absent must be null"
            )
        return self
