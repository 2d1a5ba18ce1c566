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
