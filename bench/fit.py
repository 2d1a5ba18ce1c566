"""How large a batch fits: the real step of a model, compiled for TPUs that are not here.

    uv run --extra tpu python bench/fit.py gemma2b tpu-v5e-8             # the largest batch, at 2048 tokens
    uv run --extra tpu python bench/fit.py gemma2b tpu-v5e-8 --batch 8   # one batch, and no search
    uv run --extra tpu python bench/fit.py --table                       # docs/tpu-fit.md from what is kept

Every measurement is a line of bench/fit.jsonl; one that is there already is not made again.
"""

import argparse
import datetime
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tunix_exp.cli import conf_folder
from tunix_exp.cli.composing import applicable
from tunix_exp.config import RunConfig, validate
from tunix_exp.device import environment

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "bench" / "fit.jsonl"
PAGE = ROOT / "docs" / "tpu-fit.md"
KEYS = ("model", "adapter", "device", "optim", "remat", "batch", "tokens")
GIB = 2**30


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("model", nargs="?")
    words.add_argument("device", nargs="?")
    words.add_argument("--batch", type=int, help="this batch alone")
    words.add_argument("--tokens", type=int, default=2048)
    words.add_argument("--adapter", default="none", choices=("none", "lora"))
    words.add_argument("--optim", default="adamw")
    words.add_argument("--remat", default="block", choices=("block", "dots", "none"))
    words.add_argument("--table", action="store_true")
    chosen = words.parse_args()
    if chosen.table:
        PAGE.write_text(page([json.loads(line) for line in KEPT.read_text().splitlines()]))
        return
    point = {name: getattr(chosen, name) for name in KEYS}
    for row in [measured(point)] if chosen.batch else searched(point):
        print(json.dumps(row), flush=True)


def searched(point: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Powers of two around what the plan promises, until one fits and the next does not."""
    batch = 8
    while (twice := _planned(point | {"batch": 2 * batch}))["planned_gib"] <= twice["memory_gib"]:
        batch *= 2
    row = measured(point | {"batch": batch})
    yield row
    step = 2 if row["fits"] else 0.5
    while True:
        batch = int(batch * step)
        row = measured(point | {"batch": batch})
        yield row
        if row["fits"] == (step < 1):
            return


def measured(point: dict[str, Any]) -> dict[str, Any]:
    """The plan's and the compiler's figures for one step; kept, or looked up where they are."""
    for line in KEPT.read_text().splitlines() if KEPT.exists() else ():
        row = json.loads(line)
        if all(row[key] == point[key] for key in KEYS):
            return row
    row = {key: point[key] for key in KEYS} | _compiled(point)
    with KEPT.open("a") as file:
        file.write(json.dumps(row) + "\n")
    return row


def _config(point: dict[str, Any]) -> RunConfig:
    words = [
        f"model={point['model']}", f"adapter={point['adapter']}",
        f"device={point['device']}", f"optim={point['optim']}", "mode=preflight",
        f"model.remat={point['remat']}", f"data.max_tokens={point['tokens']}",
        f"training.batch_size={point['batch'] or 8}",
    ]  # fmt: skip
    config = composed_of(words)
    environment.apply(config.device, preflight=True)
    return config


def composed_of(words: list[str]) -> RunConfig:
    """The config of a command line."""
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        composed = compose("config", overrides=words, return_hydra_config=True)
        plain = OmegaConf.to_container(applicable(composed)[0], resolve=True)
    return validate(plain)  # pyright: ignore[reportArgumentType]


def setting_of(config: RunConfig) -> tuple[Any, Any]:
    """The device that is compiled for, and the step as a run would plan it there."""
    # Only now: importing JAX reads the environment.
    from tunix_exp.device.check import check
    from tunix_exp.models.kernels import choose
    from tunix_exp.models.loss_chunk import LossChunk
    from tunix_exp.objectives import registry
    from tunix_exp.stages.plan.loss_chunk import chosen_chunk
    from tunix_exp.stages.plan.remat import chosen_remat, with_remat
    from tunix_exp.training.footprint import Setting

    device = check(config.device, preflight=True)
    fewest = Setting(
        config.model,
        config.adapter,
        config.optim,
        config.device,
        device.mesh,
        choose(
            config.device.attention,
            config.model,
            platform=device.platform,
            device_kind=device.device_kind,
            compute_dtype=config.device.compute_dtype,
            max_tokens=config.data.max_tokens,
        ).kernel,
        registry.objective(config.objective),
        config.training.batch_size,
        config.data.max_tokens,
        LossChunk.of_cpu(config.model.vocab_size),
    )
    fewest = with_remat(fewest, chosen_remat(fewest, device).remat)
    return device, replace(fewest, loss_chunk=chosen_chunk(fewest, device).chunk)


def _planned(point: dict[str, Any]) -> dict[str, Any]:
    config = _config(point)
    from tunix_exp.training.footprint import footprint

    device, setting = setting_of(config)
    taken = footprint(setting)
    seconds, bound = taken.work.seconds(device.speed)
    return point | {
        "attention": setting.attention,
        "memory_gib": device.memory_bytes / GIB,
        "planned_gib": round(taken.parts.total / GIB, 3),
        "largest_part": taken.parts.largest[0],
        "flops": taken.work.flops,
        "hbm_gib": round(taken.work.hbm_bytes / GIB, 1),
        "roofline_s": round(seconds, 4),
        "bound": bound,
    }


def _compiled(point: dict[str, Any]) -> dict[str, Any]:
    config = _config(point)
    from jax.errors import JaxRuntimeError

    from tunix_exp.device import plan as plans
    from tunix_exp.training import optim
    from tunix_exp.training.step import compile_step

    device, setting = setting_of(config)
    graphdef, arguments = setting.arguments
    begun = time.monotonic()
    figures, refusal = None, None
    try:
        compiled = compile_step(
            graphdef, optim.structure(config.optim), setting.objective.loss, device.mesh, *arguments
        )
        figures = plans.compiled_figures(compiled, "tpu")
    except JaxRuntimeError as error:
        refusal = plans.out_of_memory(error)
        if refusal is None:
            raise
    return {
        "compiled_gib": None if figures is None else round(figures.peak_bytes / GIB, 3),
        "arguments_gib": None if figures is None else round(figures.argument_bytes / GIB, 3),
        "temporaries_gib": None if figures is None else round(figures.temp_bytes / GIB, 3),
        "fits": figures is not None and figures.peak_bytes <= device.memory_bytes,
        "refusal": refusal,
        "compile_s": round(time.monotonic() - begun, 1),
        "date": datetime.date.today().isoformat(),
        "jax": metadata.version("jax"),
        "libtpu": metadata.version("libtpu"),
    }


def page(rows: list[dict[str, Any]]) -> str:
    """docs/tpu-fit.md."""
    rows = [row | _planned(row) for row in rows]
    compiled = [row for row in rows if row["compiled_gib"] is not None]
    plain = {"adapter": "none", "optim": "adamw", "remat": "block", "tokens": 2048}
    usual = [row for row in rows if row.items() >= plain.items()]
    versions = ", ".join(sorted({f"JAX {row['jax']} with libtpu {row['libtpu']}" for row in rows}))
    days = sorted({row["date"] for row in rows})
    largest = {}
    for row in sorted(usual, key=lambda row: row["batch"]):
        if row["fits"]:
            largest[row["model"], row["device"]] = row
    over = {(row["model"], row["device"], row["batch"]): row["refusal"] for row in usual if not row["fits"]}
    lines = [
        "# What fits on a TPU",
        "",
        "Full fine-tuning where no adapter is named, float32 master weights, bfloat16 compute: the exact",
        "training step, compiled by the real TPU compiler on a machine without a TPU. No step was run:",
        "seconds are the roofline's, the least that the chip's published peaks allow.",
        "",
        f"Measured {days[0]} to {days[-1]}, {versions}. Made by `python bench/fit.py --table` from",
        "`bench/fit.jsonl`, a line a measurement: `python bench/fit.py MODEL DEVICE` adds them",
        "(`uv sync --extra tpu`).",
        "",
        "## The largest batch at 2048 tokens (AdamW, powers of two)",
        "",
        "GiB are a device's: what lives at a time by the compiler's word, the program itself included.",
        "Of twice the batch the compiler gives up early, and says how much its temporaries would take.",
        "",
        "| model | device | batch | GiB | of | twice the batch | roofline s/step | bound |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for (model, device), row in sorted(largest.items()):
        twice = over.get((model, device, 2 * row["batch"]))
        if twice is None:
            continue  # not searched for
        lines.append(
            f"| `{model}` | `{device}` | {row['batch']} | {row['compiled_gib']:.2f} "
            f"| {row['memory_gib']:.2f} | {_needed(twice)} "
            f"| {row['roofline_s']:.2f} | {row['bound']} |"
        )
    lines += [
        "",
        "## The plan against the compiler",
        "",
        "`plan.json` holds both. The arithmetic takes a moment; it decides alone only where it is far over",
        "the memory, or where no compiler is available. Close to the limit the compiler may find a way with",
        "less, and the plan is then too high.",
        "",
        "| model | adapter | device | attention | optimizer | remat | batch × tokens | planned | compiled "
        "| off by |",
        "|---|---|---|---|---|---|---:|---:|---:|---:|",
    ]
    for row in sorted(compiled, key=lambda row: [row[key] for key in KEYS]):
        off = row["planned_gib"] / row["compiled_gib"] - 1
        lines.append(
            f"| `{row['model']}` | {row['adapter']} | `{row['device']}` | {row['attention']} "
            f"| {row['optim']} | {row['remat']} | {row['batch']} × {row['tokens']} "
            f"| {row['planned_gib']:.2f} | {row['compiled_gib']:.2f} | {100 * off:+.1f} % |"
        )
    lines += [
        "",
        "The compiled figure is the most that lives at a time. XLA also tells the size of all temporaries;",
        "that counts what never lives together, and is no verdict: steps whose arguments and temporaries add",
        "up to more than the memory are compiled, and fit.",
        "",
    ]
    return "\n".join(lines)


def _needed(refusal: str) -> str:
    """What the compiler says a refused step would take: a sum for all of it, or its temporaries alone."""
    figure = re.search(r"\(([\d.]+)G\) exceeds|Used ([\d.]+)G of", refusal)
    assert figure is not None, refusal
    return figure[1] or figure[2]


if __name__ == "__main__":
    main()
