"""How a training step's cost grows: with length, batch, layers, vocabulary and devices, of a small GPT-2.

uv run python bench/scaling.py [--rounds 3] [--axes length,batch]    # lines of bench/scaling.jsonl
uv run python bench/scaling.py --page                                # docs/scaling.md from them

Every point is a process of its own; a round goes over all points once. Devices are virtual: they share the
machine's cores, and the batch stays whole, so that more of them should cost nothing.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from bench import Step, Workload, composed, every_token, token_batches
from stopwatch import peak_mib, versions
from tunix_exp.host_memory import ask_for_huge_pages

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "bench" / "scaling.jsonl"
PAGE = ROOT / "docs" / "scaling.md"
REPEATS = 5

BASE = {"length": 256, "batch": 8, "layers": 4, "vocabulary": 8192, "devices": 1}
POINTS = {
    "length": (128, 256, 512, 1024, 2048),
    "batch": (2, 4, 8, 16, 32),
    "layers": (2, 4, 8, 16, 32),
    "vocabulary": (2048, 8192, 32768, 131072),
    "devices": (1, 2, 4, 8),
}
# Why an exponent is what it is, where that takes a word; measured with the profiler of the step.
REASONS = {
    "length": "attention grows with T², and beside its products it passes over the logits of every head in"
    " memory, which no FLOPs count: with fewer heads of the same width a long step is faster",
    "batch": "a part does not depend on the batch: the update of every parameter",
    "layers": "a part does not depend on the layers: embedding, unembedding and loss",
    "vocabulary": "a part does not depend on the vocabulary: the blocks",
    "devices": "the same work on the same cores, cut in smaller pieces with all-gathers between",
}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--axes", default=",".join(POINTS))
    words.add_argument("--point", nargs=2, metavar=("AXIS", "VALUE"), help="one point, in this process")
    words.add_argument("--page", action="store_true")
    words.add_argument("--out", type=Path, default=KEPT)
    chosen = words.parse_args()
    if chosen.page:
        PAGE.write_text(page([json.loads(line) for line in chosen.out.read_text().splitlines()]))
    elif chosen.point:
        ask_for_huge_pages()
        print(json.dumps(measured(chosen.point[0], int(chosen.point[1]))))
    else:
        for number in range(chosen.rounds):
            for axis in chosen.axes.split(","):
                for value in POINTS[axis]:
                    row = {"round": number} | _in_a_process(axis, value)
                    with chosen.out.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                    print(row, flush=True)


def _in_a_process(axis: str, value: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--point", axis, str(value)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def measured(axis: str, value: int) -> dict[str, Any]:
    """One point: the others of its axis differ in `value` alone."""
    size = BASE | {axis: value}
    flags = f"--xla_force_host_platform_device_count={size['devices']}"
    work = Workload(
        (
            "model=gpt2", "model.width=256", "model.mlp_width=1024", "model.num_heads=4",
            "model.num_positions=2048", f"model.num_layers={size['layers']}",
            f"model.vocab_size={size['vocabulary']}", "device.compilation_cache=null",
            f"device.xla_flags=['{flags}']",
        ),
        batch=size["batch"],
        tokens=size["length"],
    )  # fmt: skip
    config = composed(work, ())
    begun = time.perf_counter()
    step = Step(config, (work.tokens,))
    ready_s = time.perf_counter() - begun
    taken_s = []
    for tokens_BT in token_batches(size["vocabulary"], work, 1 + REPEATS):
        begun = time.perf_counter()
        step(every_token(tokens_BT))
        taken_s.append(time.perf_counter() - begun)
    return {
        "axis": axis,
        "value": value,
        "step_s": round(statistics.median(taken_s[1:]), 5),
        "ready_s": round(ready_s, 2),
        "peak_rss_mb": round(peak_mib()),
        "flops_per_step": step.flops,
        "cores": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions("jax", "jaxlib", "flax"),
    }


def exponent(points: list[tuple[float, float]]) -> float:
    """The slope of the line through the logarithms, by least squares."""
    x, y = zip(*((math.log(a), math.log(b)) for a, b in points), strict=True)
    x_mean, y_mean = statistics.fmean(x), statistics.fmean(y)
    above = sum((a - x_mean) * (b - y_mean) for a, b in zip(x, y, strict=True))
    return above / sum((a - x_mean) ** 2 for a in x)


def page(rows: list[dict[str, Any]]) -> str:
    """docs/scaling.md."""
    days = sorted({row["date"] for row in rows})
    packages = ", ".join(f"{name} {number}" for name, number in rows[0]["versions"].items())
    base = ", ".join(f"{axis} {value}" for axis, value in BASE.items())
    lines = [
        "# How a step's cost grows",
        "",
        f"A GPT-2 of width 256 in float32, full fine-tuning; where an axis does not say so: {base}.",
        "Seconds are medians over rounds, each the median of five steps in a process of its own. An exponent",
        "is the slope of logarithms: 1 doubles cost with size; *last* is that of the last two points.",
        "Of *FLOPs* is that of the operations that the step has, which the seconds should not exceed.",
        "",
        f"{days[0]} to {days[-1]}, {rows[0]['cores']} cores, {packages}. Made by",
        "`python bench/scaling.py --page` from `bench/scaling.jsonl`; without `--page` it measures.",
        "",
        "| axis | sizes | s/step | exponent | last | of FLOPs | s to compile and fill | why |",
        "|---|---|---|---:|---:|---:|---|---|",
    ]
    cells: dict[str, dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        cells[row["axis"]][row["value"]].append(row)
    for axis, of_value in cells.items():
        sizes = sorted(of_value)

        def medians(key: str, of_value: dict[int, Any] = of_value) -> list[float]:
            return [statistics.median(row[key] for row in of_value[size]) for size in sorted(of_value)]

        seconds, operations = medians("step_s"), medians("flops_per_step")
        points = list(zip(map(float, sizes), seconds, strict=True))
        lines.append(
            f"| {axis} | {', '.join(map(str, sizes))} | {', '.join(f'{s:.3f}' for s in seconds)} "
            f"| {exponent(points):.2f} | {exponent(points[-2:]):.2f} "
            f"| {exponent(list(zip(map(float, sizes), operations, strict=True))):.2f} "
            f"| {', '.join(f'{s:.0f}' for s in medians('ready_s'))} | {REASONS[axis]} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
