"""The device group: which platform the run demands and how numbers are held on it."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from tunix_exp.schema import Config

FloatType = Literal["float32", "bfloat16"]


class DeviceConfig(Config):
    """A platform that must be there, its environment, number formats and memory budget."""

    platform: Literal["auto", "cpu", "gpu", "tpu"]
    min_devices: PositiveInt
    param_dtype: FloatType
    compute_dtype: FloatType
    state_dtype: FloatType
    matmul_precision: Literal["default", "high", "highest"]
    xla_flags: Annotated[tuple[str, ...], Field(strict=False)]
    memory_gib: PositiveFloat | None
    guardrail: Literal["block", "warn", "off"]
    compilation_cache: str | None
