"""bench/results.jsonl as a page: medians, spread, and ratios to the fastest peer of each workload."""

import json
import statistics
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]

OURS = "tunix_exp"
TITLES = {
    "W1": "W1 — GPT-2 124M, 4 × 128 tokens, full fine-tune",
    "W2": "W2 — distilgpt2, 8 × 128 tokens, full fine-tune",
    "W3": "W3 — W1 with LoRA of rank 8 on the attention's projections",
    "W4": "W4 — greedy generation, distilgpt2, 8 prompts of 64 tokens, 64 new ones",
    "W5": "W5 — a small Gemma with 256,000 words, 2 × 256 tokens, full fine-tune",
    "W6": "W6 — GSM8K as it is: distilgpt2, batch 8, at most 512 tokens, loss on the response",
    "W7": "W7 — from the command to the end of the first step of W1",
    "W8": "W8 — SmolLM2 135M (a Llama), 4 × 128 tokens, full fine-tune",
    "G1": "G1 — Gemma 2B, 4 × 2048 tokens, bfloat16 compute, full fine-tune",
    "G2": "G2 — G1 with LoRA of rank 8 on the attention's projections",
    "G3": "G3 — greedy generation, Gemma 2B in bfloat16, 64 prompts of 128 tokens, 128 new ones",
}
# NVIDIA's figures of one H200: dense bfloat16 products, and its memory.
PEAK_GFLOPS = 989_000
PEAK_BYTES_PER_S = 4.8e12
HEAD = """# Benchmarks

The project against what one would use instead, by the same work on the same machine: random weights, equal
token batches, float32, AdamW at a constant rate, the loss read after every step. Each figure is the median
over rounds, with the least and the greatest behind it; within a round everybody runs once, in turn, each in a
process of its own that begins on a quiet machine. *Ratio* is the project's median over the peer's; *paired*
is the ratio within each round. Above 1 the project is faster; in memory and seconds, below 1 it takes less.
The project asks the allocator for huge pages, as its command does; the peers run as their scripts begin. Only
the peers of a table were run beside it: those that had been fastest before.

`bench/compare.py` measures, a line a process, and with `--page` writes this page of the lines.
"""


def line(row: Row) -> str:
    """A row in few words, for a terminal."""
    known = ("round", "workload", "peer", "error", "steps_per_s", "examples_per_s", "cold_s", "second_cold_s",
             "peak_rss_mb", "other_cores", "best_gflops", "waited_s")  # fmt: skip
    return "  ".join(f"{key} {row[key]}" for key in known if key in row)


def write_page(results: Path, page: Path) -> None:
    """The page of the last session of every workload."""
    rows = [json.loads(text) for text in results.read_text().splitlines()]
    measured = [row for row in rows if "error" not in row and row["workload"] in TITLES]
    parts = [HEAD, _machine(rows)]
    for workload, title in TITLES.items():
        sessions = sorted({row["session"] for row in measured if row["workload"] == workload})
        if not sessions:
            continue
        of_session = [r for r in rows if r["session"] == sessions[-1]]
        last = [r for r in of_session if r["workload"] == workload and "error" not in r]
        gemm = [r["best_gflops"] for r in of_session if r["workload"] == "GEMM"]
        failed = {r["peer"] for r in of_session if r["workload"] == workload and "error" in r}
        parts.append(f"## {title}\n\n{_section(workload, last, gemm)}")
        if failed:
            parts.append(f"Did not run through: {', '.join(sorted(failed))}.\n")
    curves = results.with_name("curves.jsonl")
    if curves.exists():
        parts.append(_curves([json.loads(text) for text in curves.read_text().splitlines()]))
    page.write_text("\n".join(parts))


def _curves(rows: list[Row]) -> str:
    lines = [
        "## The same losses",
        "",
        "From the same weights and batches, step by step, against transformers (and PEFT) on PyTorch;",
        "made by `bench/curves.py`, which refuses a difference above 1e-4.",
        "",
        "| | steps | largest relative difference | at step | loss, first and last |",
        "|---|---:|---:|---:|---|",
    ]
    for workload, row in sorted({row["workload"]: row for row in rows}.items()):
        lines.append(
            f"| {workload} | {row['steps']} | {row['largest_relative_difference']:.1e} | {row['at_step']} "
            f"| {row['losses'][0]:.4f}, {row['losses'][-1]:.4f} |"
        )
    return "\n".join([*lines, ""])


def _machine(rows: list[Row]) -> str:
    names: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for package, number in row["versions"].items() if "versions" in row else ():
            names[package].add(number)
    machines = sorted({f"{row['cores']} cores of {row['cpu']}" for row in rows if "cpu" in row})
    days = sorted({row["session"][:10] for row in rows})
    versions = ", ".join(f"{name} {' / '.join(sorted(names[name]))}" for name in sorted(names))
    return f"{days[0]} to {days[-1]}, {'; '.join(machines)}. {versions}.\n"


def _section(workload: str, rows: list[Row], gemm: list[float]) -> str:
    by_peer: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_peer[row["peer"]].append(row)
    if workload == "W7":
        return _first_steps(by_peer)
    return _speeds(by_peer, "examples_per_s" if workload == "W6" else "steps_per_s", gemm)


def _speeds(by_peer: dict[str, list[Row]], key: str, gemm: list[float]) -> str:
    ours = by_peer[OURS]
    flops = ours[0].get("flops_per_step")
    rate = statistics.median(gemm) if gemm else PEAK_GFLOPS
    memory = "peak_rss_mb" if gemm else "device_peak_mb"
    order = sorted(by_peer, key=lambda name: -_median(by_peer[name], key))
    what = "examples/s" if key == "examples_per_s" else "steps/s"
    lines = [
        f"| | {what} | ratio | paired | peak MB | ratio | paired | cold s "
        f"| GFLOP/s | of {rate:.0f} | rounds |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name in order:
        theirs = by_peer[name]
        achieved = None if flops is None else flops * _median(theirs, key) / 1e9
        cells = [
            f"**{name}**" if name.startswith(OURS) else name,
            _spread(theirs, key, "{:.3f}"),
            *_ratios(ours, theirs, key),
            _spread(theirs, memory, "{:.0f}"),
            *_ratios(ours, theirs, memory),
            _spread(theirs, "cold_s", "{:.1f}"),
            "" if achieved is None else f"{achieved:.0f}",
            "" if achieved is None else f"{achieved / rate:.0%}",
            str(len(theirs)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    peers = [name for name in order if not name.startswith(OURS)]
    if not peers:
        return "\n".join([*lines, ""])
    fastest = peers[0]
    leanest = min(
        (name for name in peers if "jax" in by_peer[name][0]["versions"]),
        key=lambda name: _median(by_peer[name], memory),
        default=None,
    )
    notes = [f"Fastest peer: {fastest}, ratio {_median(ours, key) / _median(by_peer[fastest], key):.2f}."]
    if leanest is not None:
        less = _median(ours, memory) / _median(by_peer[leanest], memory)
        notes.append(f"Leanest peer in JAX: {leanest}, ratio {less:.2f}.")
    if "bytes_per_new_token" in ours[0]:
        bound = PEAK_BYTES_PER_S / ours[0]["bytes_per_new_token"]
        share = _median(ours, "tokens_per_s") / bound
        notes.append(f"The memory's bandwidth allows {bound:.0f} tokens/s; the project reaches {share:.0%}.")
    fewer = [f"{name} in {len(by_peer[name])}" for name in order if len(by_peer[name]) < len(ours)]
    if fewer:
        notes.append(f"Not everybody ran in every round: {', '.join(fewer)} of {len(ours)}.")
    if any(row.get("proxy") for name in peers for row in by_peer[name]):
        notes.append("tunix has no GPT-2; it runs its Llama with the same products.")
    others = [row["other_cores"] for name in order for row in by_peer[name]]
    notes.append(
        f"Others used {statistics.median(others):.2f} cores meanwhile, {max(others):.2f} at the most."
    )
    return "\n".join([*lines, "", " ".join(notes), ""])


def _first_steps(by_peer: dict[str, list[Row]]) -> str:
    ours = by_peer[OURS]
    lines = [
        "| | first time, s | ratio | paired | second time, s | ratio | paired | rounds |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name in sorted(by_peer, key=lambda name: _median(by_peer[name], "cold_s")):
        theirs = by_peer[name]
        cells = [
            f"**{name}**" if name.startswith(OURS) else name,
            _spread(theirs, "cold_s", "{:.1f}"),
            *_ratios(ours, theirs, "cold_s"),
            _spread(theirs, "second_cold_s", "{:.1f}"),
            *_ratios(ours, theirs, "second_cold_s"),
            str(len(theirs)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    note = (
        "The first time no compiled program is kept on disk; the second time follows at once. `tunix_exp` and"
        " the peers are bare scripts; `tunix_exp_cli` is the whole program: config, checks, data, plan,"
        " run directory."
    )
    return "\n".join([*lines, "", note, ""])


def _median(rows: list[Row], key: str) -> float:
    return statistics.median(row[key] for row in rows)


def _spread(rows: list[Row], key: str, form: str) -> str:
    values = [row[key] for row in rows]
    show: Callable[[float], str] = form.format
    return f"{show(statistics.median(values))} ({show(min(values))}–{show(max(values))})"


def _ratios(ours: list[Row], theirs: list[Row], key: str) -> tuple[str, str]:
    """The ratio of the medians, and the median, least and greatest of those within each round."""
    if ours is theirs:
        return "", ""
    of_round = {row["round"]: row[key] for row in theirs}
    paired = [row[key] / of_round[row["round"]] for row in ours if row["round"] in of_round]
    ratio = f"{_median(ours, key) / _median(theirs, key):.2f}"
    if not paired:
        return ratio, ""
    return ratio, f"{statistics.median(paired):.2f} ({min(paired):.2f}–{max(paired):.2f})"
