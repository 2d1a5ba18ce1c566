"""How many tokens have their logits at a time, chosen from the device's figures and what the plan leaves."""

from jax.sharding import AbstractMesh, Mesh

from tunix_exp.device.check import Device
from tunix_exp.device.plan import EvaluationParts, Parts
from tunix_exp.evaluation import footprint as evaluating
from tunix_exp.models.adapter import AdapterConfig, NoAdapterConfig
from tunix_exp.models.config import ModelConfig
from tunix_exp.models.loss_chunk import Choice, Table, choose
from tunix_exp.training import footprint as training

_BYTES = {"float32": 4, "bfloat16": 2}
# Of the memory that the plan leaves; the compiler may find less than the plan promises (docs/tpu-fit.md).
_TAKEN = 1 / 2


def chosen_chunk(setting: training.Setting | evaluating.Setting, device: Device) -> Choice:
    """The chunk for `setting`, which has the smallest one, and why it is this one."""
    speed = device.speed
    left = 0.0 if device.platform == "cpu" or speed is None else _left(setting, device.memory_bytes)
    return choose(
        table_of(setting.model, setting.adapter, setting.device.compute_dtype, setting.mesh),
        vocab_size=setting.model.vocab_size,
        platform=device.platform,
        device_kind=device.device_kind,
        flops_per_byte=None if speed is None else speed.peak_flops / speed.bandwidth,
        left_bytes=left,
    )


def table_of(
    model: ModelConfig, adapter: AdapterConfig, compute_dtype: str, mesh: Mesh | AbstractMesh
) -> Table:
    """A device's part: the vocabulary is split where the axes divide it."""
    parts = mesh.shape["fsdp"] * mesh.shape["tensor"]
    is_split = model.vocab_size % parts == 0
    return Table(
        words=model.vocab_size // (parts if is_split else 1),
        width=model.width,
        compute_bytes=_BYTES[compute_dtype],
        is_trained=isinstance(adapter, NoAdapterConfig),
        sharing=mesh.shape["fsdp"] if is_split else 1,
    )


def _left(setting: training.Setting | evaluating.Setting, memory_bytes: int) -> float:
    """What a larger chunk may take: some of what is free, and where the gradients of the blocks will be."""
    parts: Parts | EvaluationParts
    if isinstance(setting, evaluating.Setting):
        parts = evaluating.footprint(setting)
        later = 0
    else:
        parts = training.footprint(setting).parts
        later = max(parts.block + parts.block_gradients - parts.loss, 0)
    return max(memory_bytes - parts.total, 0) * _TAKEN + later
