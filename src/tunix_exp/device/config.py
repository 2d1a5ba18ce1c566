"""The device group: which platform the run demands and how numbers are held on it."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tunix_exp.references import Place
from tunix_exp.schema import LEAST, Config, Devices, contradiction

FloatType = Literal["float32", "bfloat16"]


MeshAxis = Devices | Literal["rest"]
# Of a TPU, as v5e:2x4.
Topology = Annotated[str, Field(pattern=r"^v\d{1,2}[a-z]?:\d{1,3}x\d{1,3}(x\d{1,3})?$")]
# XLA ends the process at a word that is no flag of its own, and cuts its variable at white space.
Flag = Annotated[str, Field(pattern=r"^--xla_[A-Za-z0-9_]+(=[!-~]*)?$", max_length=1000)]
# A hundredth of the smallest card is less than CUDA itself takes.
Share = Annotated[float, Field(ge=0.01, le=1)]
Gibibytes = Annotated[float, Field(ge=LEAST, le=2**20)]


class MeshConfig(Config):
    """Devices along each axis of the mesh; at most one axis is `rest` and takes what the others leave."""

    data: MeshAxis
    fsdp: MeshAxis
    tensor: MeshAxis

    @model_validator(mode="after")
    def _one_rest_at_most(self) -> "MeshConfig":
        if [self.data, self.fsdp, self.tensor].count("rest") > 1:
            raise ValueError(
                contradiction(self.model_dump(), "only one axis can be the rest; give the others a number")
            )
        return self


class DeviceConfig(Config):
    """A platform that must be there, its environment, number formats and memory budget."""

    platform: Literal["auto", "cpu", "gpu", "tpu"]
    topology: Topology | None  # that the TPU must have
    topology_when_absent: Topology | None  # what a preflight compiles for where no TPU is found
    min_devices: Devices
    mesh: MeshConfig
    param_dtype: FloatType
    compute_dtype: FloatType
    state_dtype: FloatType
    attention: Literal["auto", "einsum", "cudnn", "splash"]
    matmul_precision: Literal["default", "high", "highest"]
    xla_flags: Annotated[tuple[Flag, ...], Field(strict=False, max_length=100)]
    memory_gib: Gibibytes | None  # null: what the device says, or what its kind is known to have
    memory_fraction: Share | None  # of a GPU's memory that JAX takes; null: JAX's own, three quarters
    guardrail: Literal["block", "warn", "off"]
    compilation_cache: Place | None

    @model_validator(mode="after")
    def _shares_are_of_a_gpu(self) -> "DeviceConfig":
        if self.memory_fraction is not None and self.platform != "gpu":
            raise ValueError(
                contradiction(
                    {"memory_fraction": self.memory_fraction, "platform": self.platform},
                    "it is of a GPU's memory; choose device=gpu, or set memory_fraction to null",
                )
            )
        return self

    @model_validator(mode="after")
    def _topologies_are_of_a_tpu(self) -> "DeviceConfig":
        for key in ("topology", "topology_when_absent"):
            named = getattr(self, key)
            if named is not None and self.platform != "tpu":
                raise ValueError(
                    contradiction(
                        {key: named, "platform": self.platform},
                        "a topology is of a TPU; choose device=tpu, or set the topology to null",
                    )
                )
        if self.topology is not None and self.topology_when_absent is not None:
            both = {"topology": self.topology, "topology_when_absent": self.topology_when_absent}
            raise ValueError(
                contradiction(
                    both, "the first is compiled for, here or not; set topology_when_absent to null"
                )
            )
        return self
