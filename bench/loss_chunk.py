"""How many tokens have their logits at a time, by device and model, and what moves of the table.

    uv run python bench/loss_chunk.py        # docs/loss-chunk.md, from the code that a run chooses by

Nothing is compiled and nothing is measured: shapes, and the published figures of `device/speed.py` and
`device/topology.py`.
"""

import itertools
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from jax.sharding import AbstractMesh
from omegaconf import OmegaConf

from tunix_exp.cli import conf_folder
from tunix_exp.cli.composing import applicable
from tunix_exp.config import RunConfig, validate
from tunix_exp.device.check import Device
from tunix_exp.device.speed import GPUS, Speed
from tunix_exp.device.topology import GENERATIONS
from tunix_exp.models.loss_chunk import LossChunk
from tunix_exp.models.sharding import AXES
from tunix_exp.objectives import registry
from tunix_exp.stages.plan.loss_chunk import chosen_chunk, table_of
from tunix_exp.stages.plan.remat import Choice, chosen_remat, with_remat
from tunix_exp.training.footprint import Setting, footprint

PAGE = Path(__file__).resolve().parents[1] / "docs" / "loss-chunk.md"
GB, GIB = 1e9, 2**30
TOKENS = 2048
# Name, figures, GiB of a device that a program may use (of a card JAX takes three quarters), devices.
GPU = {speed.device_kind: speed for speed in GPUS}
DEVICES: tuple[tuple[str, Speed, float, int], ...] = (
    ("A100 80 GB", GPU["NVIDIA A100-SXM4-80GB"], 0.75 * 79.3, 1),
    ("H100", GPU["NVIDIA H100 80GB HBM3"], 0.75 * 79.6, 1),
    ("H200", GPU["NVIDIA H200"], 0.75 * 139.8, 1),
    ("`tpu-v3-8`", GENERATIONS["v3"], GENERATIONS["v3"].memory_gib, 8),
    ("`tpu-v5e-8`", GENERATIONS["v5e"], GENERATIONS["v5e"].memory_gib, 8),
    ("`tpu-v6e-8`", GENERATIONS["v6e"], GENERATIONS["v6e"].memory_gib, 8),
    ("v6e, one chip", GENERATIONS["v6e"], GENERATIONS["v6e"].memory_gib, 1),
)
MODELS = (("gemma2b", "none"), ("gemma2b", "lora"), ("llama32-1b", "none"), ("qwen25-0.5b", "none"))
MODELS += (("gpt2", "none"),)


def main() -> None:
    PAGE.write_text(page())


def page() -> str:
    """docs/loss-chunk.md."""
    lines = [
        "# The chunks of the loss",
        "",
        "Of a vocabulary of 256,000 words the logits of a batch would fill the memory, so that the loss",
        "makes them for some tokens at a time. For each such chunk a device reads the table twice, and",
        "reads and writes its gradient in float32, however few the tokens are. The chunk is therefore the",
        "smallest power of two at which that traffic takes a quarter of the time of the arithmetic, by",
        "the published figures of the device, and no more than what the plan leaves in memory",
        "(`models/loss_chunk.py`).",
        "",
        "It is chosen once, with the plan: the training step, the held-out losses and the plan's own",
        "arithmetic take it, and `plan.json` records it with the reason (`loss_chunk`). A replay chooses",
        "by the same rule: the same chunk on the same kind of device, and on another that device's own,",
        "as of the attention kernel. A CPU has 2²⁵ logits at a time, and so has a device of which no",
        "figures are known.",
        "",
        "What is computed again in the backward pass is chosen before (`model.remat=auto`, the option of the",
        "large models): `dots` where its planned peak leaves a tenth of the memory, and else `block`. A CPU",
        "recomputes whole blocks whatever its memory; a resumed run and a replay take what was chosen first.",
        "",
        f"One step of 4 rows a device, of {TOKENS} tokens that all count; bytes, times: a device's. Before:",
        "2²⁵ logits a chunk on every device. Made by `python bench/loss_chunk.py`: no step was run.",
        "",
        "| device | model | adapter | remat | tokens a chunk before | now "
        "| table traffic before, GB | now | its time before, ms | now | the loss's arithmetic, ms |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [row(*device, *model) for device, model in itertools.product(DEVICES, MODELS)]
    return "\n".join([*lines, ""])


def planned_of(speed: Speed, memory_gib: float, count: int, model: str, adapter: str) -> Choice:
    """What a run on `count` of such devices would recompute, with the planned peak of each way."""
    setting, device = setting_on(speed, memory_gib, count, model, adapter)
    return chosen_remat(setting, device)


def setting_on(
    speed: Speed, memory_gib: float, count: int, model: str, adapter: str
) -> tuple[Setting, Device]:
    """The step of 4 rows a device, and the devices, which are not here."""
    is_tpu = speed in GENERATIONS.values()
    config = config_of(model, adapter, rows=4 * count)
    mesh = AbstractMesh((1, count, 1), AXES)
    setting = Setting(
        config.model,
        config.adapter,
        config.optim,
        config.device,
        mesh,
        "splash" if is_tpu else "cudnn",
        registry.objective(config.objective),
        config.training.batch_size,
        TOKENS,
        LossChunk.of_cpu(config.model.vocab_size),
    )
    device = Device(
        "tpu" if is_tpu else "gpu", speed.device_kind, None, None, (), int(memory_gib * GIB), mesh, "",
        speed, None,
    )  # fmt: skip
    return setting, device


def row(name: str, speed: Speed, memory_gib: float, count: int, model: str, adapter: str) -> str:
    """A line of the table."""
    setting, device = setting_on(speed, memory_gib, count, model, adapter)
    fewest = setting.loss_chunk
    remat = chosen_remat(setting, device).remat
    setting = with_remat(setting, remat)
    if footprint(setting).parts.total > device.memory_bytes:
        return f"| {name} | `{model}` | {adapter} | the step does not fit | | | | | | | |"
    chunk = chosen_chunk(setting, device).chunk
    table = table_of(setting.model, setting.adapter, setting.device.compute_dtype, setting.mesh)
    tokens = 4 * TOKENS
    moved = [table.chunks_traffic(tokens, one.tokens) for one in (fewest, chunk)]
    ms = [1e3 * n / (speed.bandwidth / speed.devices_per_chip) for n in moved]
    arithmetic = 1e3 * tokens * table.flops_a_token / speed.device_peak_flops
    return (
        f"| {name} | `{model}` | {adapter} | {remat} | {fewest.tokens:,} | {chunk.tokens:,} "
        f"| {moved[0] / GB:.1f} | {moved[1] / GB:.1f} | {ms[0]:.1f} | {ms[1]:.1f} | {arithmetic:.1f} |"
    )


def config_of(model: str, adapter: str, *, rows: int) -> RunConfig:
    """The config of a preflight in bfloat16 compute; the device is put beside it."""
    words = [
        f"model={model}", f"adapter={adapter}", "device=cpu", "device.compute_dtype=bfloat16",
        "mode=preflight", f"training.batch_size={rows}",
        f"data.max_tokens={TOKENS if model != 'gpt2' else 1024}",
    ]  # fmt: skip
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        composed = compose("config", overrides=words, return_hydra_config=True)
        plain: Any = OmegaConf.to_container(applicable(composed)[0], resolve=True)
    return validate(plain)


if __name__ == "__main__":
    main()
