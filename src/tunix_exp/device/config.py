"""The device group: which platform the run demands and how numbers are held on it."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tunix_exp.references import Place
from tunix_exp.schema import LEAST, MOST_DEVICES, Config, Devices, contradiction

FloatType = Literal["float32", "bfloat16"]


MeshAxis = Devices | Literal["rest"]
# Of a TPU, as v5e:2x4.
Topology = Annotated[str, Field(pattern=r"^v\d{1,2}[a-z]?:\d{1,3}x\d{1,3}(x\d{1,3})?$")]
# XLA ends the process at a word that is no flag of its own, and cuts its variable at white space.
Flag = Annotated[str, Field(pattern=r"^--xla_[A-Za-z0-9_]+(=[!-~]*)?$", max_length=1000)]
# A hundredth of the smallest card is less than CUDA itself takes.
Share = Annotated[float, Field(ge=0.01, le=1)]
Gibibytes = Annotated[float, Field(ge=LEAST, le=2**20)]
# The address that process 0 listens at, as 10.0.0.1:1234, or what JAX finds out from the cluster.
Coordinator = Annotated[
    str, Field(pattern=r"^(auto|[A-Za-z0-9._-]{1,253}:\d{1,5}|\[[0-9A-Fa-f:.]{2,45}\]:\d{1,5})$")
]


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


class DistributedConfig(Config):
    """Several processes as one run: where the first of them listens, how many there are, and which this is.

    All null: one process. `coordinator=auto` takes all three from the cluster (Slurm, a TPU slice, Open MPI).
    """

    coordinator: Coordinator | None
    processes: Annotated[int, Field(ge=2, le=MOST_DEVICES)] | None
    process: Annotated[int, Field(ge=0, lt=MOST_DEVICES)] | None
    timeout_s: Annotated[float, Field(ge=1, le=86_400)] | None  # null: device/hosts.py has them

    @property
    def is_wanted(self) -> bool:
        """Whether the run is of several processes."""
        return self.coordinator is not None

    @model_validator(mode="after")
    def _all_or_nothing(self) -> "DistributedConfig":
        by_hand = {"processes": self.processes, "process": self.process}
        named = {name: value for name, value in by_hand.items() if value is not None}
        says = {"coordinator": self.coordinator, **by_hand}
        if self.coordinator == "auto" and named:
            raise ValueError(contradiction(says, "auto takes both from the cluster; set them to null"))
        if self.coordinator not in (None, "auto") and len(named) < len(by_hand):
            raise ValueError(
                contradiction(
                    says,
                    "an address says neither how many processes there are nor which this is; set both, the"
                    " first process is 0",
                )
            )
        if self.coordinator is None and (named or self.timeout_s is not None):
            raise ValueError(
                contradiction(
                    says | {"timeout_s": self.timeout_s},
                    "without a coordinator there is one process; name its address (HOST:PORT of process 0),"
                    " or auto, or set the others to null",
                )
            )
        if (
            self.coordinator not in (None, "auto")
            and not 0 < int(self.coordinator.rpartition(":")[2]) < 2**16
        ):
            raise ValueError(f"`coordinator={self.coordinator}`: a port is a number from 1 to 65535")
        if self.process is not None and self.processes is not None and self.process >= self.processes:
            raise ValueError(contradiction(by_hand, "processes are counted from 0"))
        return self


class DeviceConfig(Config):
    """A platform that must be there, its environment, number formats and memory budget."""

    platform: Literal["auto", "cpu", "gpu", "tpu"]
    topology: Topology | None  # that the TPU must have
    topology_when_absent: Topology | None  # what a preflight compiles for where no TPU is found
    min_devices: Devices
    mesh: MeshConfig
    distributed: DistributedConfig
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
