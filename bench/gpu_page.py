"""What was measured on a card, kept in bench/gpu.jsonl, and docs/gpu.md from it.

python bench/gpu_page.py add OUT    # what bench/gpu.sh measured, in folder OUT: lines of bench/gpu.jsonl
python bench/gpu_page.py            # docs/gpu.md

A session is a commit on a card on a day; of each the page has a table. What today's code is to do there, by
the plan and by the compiled programs' arithmetic, stands apart.
"""

import argparse
import itertools
import json
import statistics
import subprocess
from pathlib import Path
from typing import Any

import loss_chunk
import step_cost

ROOT = Path(__file__).resolve().parents[1]
KEPT, PAGE = ROOT / "bench" / "gpu.jsonl", ROOT / "docs" / "gpu.md"
SESSION = ("commit", "device", "driver", "jax", "date")
WORK = {
    "G1": "full fine-tune, 4 × 2048 tokens",
    "G2": "LoRA, 4 × 2048 tokens",
    "G3": "generation, 64 × (128 + 128) tokens",
}
OURS, H200 = "tunix_exp", "H200"


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("what", nargs="?", choices=("add",))
    words.add_argument("out", nargs="?", type=Path)
    chosen = words.parse_args()
    if chosen.what == "add":
        with KEPT.open("a") as file:
            for row in measured(chosen.out):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    rows = [json.loads(line) for line in KEPT.read_text().splitlines()]
    PAGE.write_text(page(rows))


def measured(out: Path) -> list[dict[str, Any]]:
    """The lines of a session's bench.jsonl as those of bench/gpu.jsonl."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    device, driver = (
        subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip().split(", ")
    )
    head = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip()
    session = {"commit": commit, "device": device, "driver": driver}
    lines = [json.loads(line) for line in (out / "bench.jsonl").read_text().splitlines()]
    # PyTorch's lines know no JAX; the session is one all the same.
    jax = next(line["versions"]["jax"] for line in lines if "jax" in line.get("versions", {}))
    return [session | {"jax": jax} | _row(line) for line in lines]


def _row(line: dict[str, Any]) -> dict[str, Any]:
    if "longest" in line:
        return {"workload": line["workload"], "longest": line["longest"], "kernels_ms": line["kernels_ms"]}
    row: dict[str, Any] = {
        "date": line["date"][:10],
        "workload": line["workload"],
        "side": line["peer"],
        "words": line.get("overrides", []),
        "peak_gb": round(line["device_peak_mb"] * 2**20 / 1e9, 1),
    }
    if "planned_peak_mb" in line:
        row |= {"planned_gb": round(line["planned_peak_mb"] * 2**20 / 1e9, 1), "remat": line["remat"]}
    if line["workload"].endswith("3"):
        return row | {"tokens_per_s": line["tokens_per_s"]}
    step_s = statistics.median(line["step_s"])
    if "flops_per_step" in line:
        row["mfu"] = round(line["flops_per_step"] / step_s / loss_chunk.GPU[step_cost.H200].peak_flops, 3)
    return row | {"step_s": round(step_s, 4)}


def page(rows: list[dict[str, Any]]) -> str:
    """docs/gpu.md."""
    lines = [
        "# On a GPU",
        "",
        "Gemma 2B with drawn weights in bfloat16 compute, rows without padding, AdamW: `bash bench/gpu.sh`",
        "on a machine with one card measures it beside transformers on PyTorch on the same card, and",
        "`python bench/gpu_page.py` makes this page from `bench/gpu.jsonl`, a line a measurement. MFU is of",
        "the published peak in bfloat16; GB is the most of the card that was in use.",
        "",
        "## What was measured",
    ]
    for _, session in itertools.groupby(rows, key=lambda row: [row.get(key) for key in SESSION[:4]]):
        lines += _session(list(session))
    return "\n".join([*lines, *_expected(), ""])


def _session(rows: list[dict[str, Any]]) -> list[str]:
    one = rows[0]
    lines = [
        "",
        f"Commit {one['commit']}, one {one['device']}, driver {one['driver']}, JAX {one['jax']},",
        f"{one['date']}; figures are of that commit alone.",
        "",
        "| work | side | changed | step s or tokens/s | MFU | GB | planned GB | times PyTorch's rate |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    timed = [row for row in rows if "side" in row]
    for row in timed:
        other = next((r for r in timed if r["workload"] == row["workload"] and r["side"] != OURS), None)
        ratio = "" if other is None or row["side"] != OURS else f"{_rate(row) / _rate(other):.2f}"
        figure = f"{row['step_s']:.4f} s" if "step_s" in row else f"{row['tokens_per_s']:,.0f}"
        mfu = f"{100 * row['mfu']:.1f} %" if "mfu" in row else ""
        lines.append(
            f"| {WORK[row['workload']]} | {row['side']} | {', '.join(row['words'])} | {figure} | {mfu} "
            f"| {row['peak_gb']:.1f} | {row.get('planned_gb', '')} | {ratio} |"
        )
    for row in rows:
        if row.get("longest"):
            lines += [
                "",
                f"The longest kernels of {WORK[row['workload']]}, ms a step of {row['kernels_ms']}:",
                "",
            ]
            lines += [f"* {ms:.2f} ms in {runs:g} runs: `{name}`" for name, ms, runs in row["longest"]]
    seen = [f"* {row['seen']}" for row in rows if "seen" in row]
    return [*lines, *(["", *seen] if seen else [])]


def _rate(row: dict[str, Any]) -> float:
    return row.get("tokens_per_s") or 1 / row["step_s"]


def _expected() -> list[str]:
    """What the plan of today's code says of an H200, and what the compiled programs' arithmetic does."""
    _, speed, memory_gib, count = next(one for one in loss_chunk.DEVICES if one[0] == H200)
    lines = [
        "",
        "## What is expected of today's code on an H200",
        "",
        "Nothing here was run. Planned is the peak that a run would plan with, of the three quarters of the",
        "card that JAX takes (`device.memory_fraction`); the bound is the arithmetic of",
        "[step-cost.md](step-cost.md), which no product reaches. The goals are this project's own: a step in",
        "less time than PyTorch's above.",
        "",
        "| work | remat | chosen by `auto` | planned GB | bound s | goal s | bound / goal |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    bounds = {
        (row["adapter"], row["remat"]): sum(part.get(step_cost.H200, 0) for part in row["parts"].values())
        for row in map(json.loads, step_cost.KEPT.read_text().splitlines())
        if row["topology"].startswith("v5p")  # the later commit comes last
    }
    for adapter, workload in (("none", "G1"), ("lora", "G2")):
        planned = loss_chunk.planned_of(speed, memory_gib, count, "gemma2b", adapter)
        for remat, size in planned.planned_bytes.items():
            bound, goal = bounds[adapter, remat], step_cost.GOALS[adapter]
            lines.append(
                f"| {WORK[workload]} | {remat} | {'yes' if remat == planned.remat else ''} "
                f"| {size / 1e9:.1f} | {bound:.3f} | {goal:.3f} | {100 * bound / goal:.0f} % |"
            )
    return lines


if __name__ == "__main__":
    main()
