"""What a training step of a large model moves and computes, by the compiler's own program, as JSON lines.

    python bench/step_cost.py compile NAME key=value…   # FOLDER/NAME.txt and .json: the step for a TPU
    python bench/step_cost.py read NAME [--commit C]    # its figures, a line of bench/step_cost.jsonl
    python bench/step_cost.py page                      # docs/step-cost.md

`uv sync --extra tpu` brings the compiler; no TPU is needed, and no step is run. Seconds are the roofline's,
summed over instructions: for each the longer of its products at the peak and its bytes at the bandwidth.
"""

import argparse
import json
import math
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import hlo

ROOT = Path(__file__).resolve().parents[1]
KEPT, PAGE = ROOT / "bench" / "step_cost.jsonl", ROOT / "docs" / "step-cost.md"
PARTS = ("forward", "loss", "backward", "update")
H200 = "NVIDIA H200"
GB, GIB = 1e9, 2**30
# Seconds a step of 4 × 2048 on an H200, that of Gemma 2B.
GOALS = {"none": 0.230, "lora": 0.160}
LARGE, PARAMETERS = ("full-v5p1", "dc576f7"), 2_506_172_416
# Products of a tile of queries and keys in each kernel of the attention.
_ATTENTION = {"splash_mha_fwd": 2, "splash_mha_dq": 3, "splash_mha_dkv": 4}
WORDS_AT_A_TIME = 4096  # of a loss that goes through the vocabulary in parts


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("what", choices=("compile", "read", "page"))
    words.add_argument("name", nargs="?")
    words.add_argument("overrides", nargs="*")
    words.add_argument("--folder", type=Path, default=Path("/tmp/step_cost"))
    words.add_argument("--commit", help="of the code that was compiled; the checkout's own without")
    chosen = words.parse_intermixed_args()
    if chosen.what == "page":
        PAGE.write_text(page([json.loads(line) for line in KEPT.read_text().splitlines()]))
        return
    chosen.folder.mkdir(parents=True, exist_ok=True)
    place = chosen.folder / chosen.name
    if chosen.what == "compile":
        place.with_suffix(".json").write_text(
            json.dumps(compiled(place.with_suffix(".txt"), chosen.overrides))
        )
        return
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    commit = chosen.commit or head.stdout.strip()
    row = {"name": chosen.name, "commit": commit} | figures(place)
    with KEPT.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row))


def compiled(text: Path, overrides: list[str]) -> dict[str, Any]:
    """The step that a command would train by is compiled, its program in `text`; what else is to be known."""
    import fit
    from tunix_exp.device import environment

    config = fit.composed_of(["mode=preflight", *overrides])
    environment.apply(config.device, preflight=True)
    # Only now: importing JAX reads the environment.
    from jax.errors import JaxRuntimeError

    from tunix_exp.training import optim
    from tunix_exp.training.step import compile_step

    device, setting = fit.setting_of(config)
    graphdef, arguments = setting.arguments
    row = {"words": overrides, "attention": setting.attention, "chunk": setting.loss_chunk.tokens}
    row |= {"layers": config.model.num_layers, "vocabulary": config.model.vocab_size}
    begun = time.monotonic()
    try:
        program = compile_step(
            graphdef, optim.structure(config.optim), setting.objective.loss, device.mesh, *arguments
        )
    except JaxRuntimeError as error:
        return row | {"refusal": str(error).splitlines()[0]}
    text.write_text(program.as_text())
    memory = program.memory_analysis()
    return row | {"peak": memory.peak_memory_in_bytes, "compile_s": round(time.monotonic() - begun, 1)}


def figures(place: Path) -> dict[str, Any]:
    """Bytes, FLOPs and least seconds of each part of a compiled step, a device's."""
    from tunix_exp.device.speed import GPUS
    from tunix_exp.device.topology import GENERATIONS

    known = json.loads(place.with_suffix(".json").read_text())
    config = dict(word.split("=", 1) for word in known["words"])
    topology = config.get("device.topology", f"{config['device'].split('-')[1]}:2x4")
    row = {
        "model": config["model"],
        "adapter": config.get("adapter", "none"),
        "remat": config["model.remat"],
        "topology": topology,
        "batch": int(config["training.batch_size"]),
        "tokens": int(config["data.max_tokens"]),
        "chunk": known["chunk"],
        "jax": metadata.version("jax"),
        "libtpu": metadata.version("libtpu"),
    }
    if "peak" not in known:
        return row | {"refusal": known["refusal"]}
    speeds = {topology: GENERATIONS[topology.split(":")[0]]}
    speeds[H200] = next(speed for speed in GPUS if speed.device_kind == H200)
    parts: dict[str, dict[str, float]] = {part: defaultdict(float) for part in PARTS}
    outside: dict[str, int] = defaultdict(int)
    rows = row["batch"] // (8 if topology.endswith(":2x4") else 1)
    for name_of_part, cost in _costs(place.with_suffix(".txt").read_text(), known, rows * row["tokens"]):
        flops = cost.flops + _attention(cost.instruction)
        part = parts[name_of_part]
        part["bytes"] += cost.runs * cost.bytes
        part["flops"] += cost.runs * flops
        for name, speed in speeds.items():
            seconds = max(
                flops / speed.device_peak_flops, cost.bytes / speed.bandwidth * speed.devices_per_chip
            )
            part[name] += cost.runs * seconds
        if not cost.loops:
            outside[_task(cost.instruction)] += cost.bytes
    return row | {"peak_gib": round(known["peak"] / GIB, 2), "parts": parts, "outside": outside}


def _costs(text: str, known: dict[str, Any], tokens: int) -> Iterator[tuple[str, hlo.Cost]]:
    """Every instruction with the part of the step that it is in."""
    program = hlo.Program(text)

    def is_of_layers(loop: hlo.Instruction) -> bool:
        return any(array.sizes[:1] == (known["layers"],) and len(array.sizes) > 1 for array in loop.arrays)

    def trips(loop: hlo.Instruction, around: tuple[hlo.Instruction, ...]) -> int:
        if around:
            return known["vocabulary"] // WORDS_AT_A_TIME
        return known["layers"] if is_of_layers(loop) else -(-tokens // known["chunk"])

    for cost in program.costs(trips):
        if not cost.loops:
            yield "update", cost
        elif not is_of_layers(cost.loops[0]):
            yield "loss", cost
        else:
            yield "backward" if "transpose(" in cost.loops[0].source else "forward", cost


def _task(one: hlo.Instruction) -> str:
    """What an instruction outside the loops is for, by the traced operation that it comes of."""
    if one.source.endswith("/sub"):
        return "parameters and moments"
    if one.source.endswith("jit(_step)/dot_general"):
        return "norm of the gradient"
    if one.opcode == "broadcast":
        return "zeros"
    if one.opcode == "convert" or one.source.endswith("convert_element_type"):
        return "parameters cast"
    return "other"


def _attention(one: hlo.Instruction) -> int:
    """FLOPs of a kernel of the attention, whose text does not tell them: the pairs of a causal mask."""
    products = next((n for name, n in _ATTENTION.items() if one.name.startswith(name)), 0)
    if not products:
        return 0
    # [B, N, T, H], of one row without B.
    *heads, T, H = max((array.sizes for array in one.arrays if len(array.sizes) > 2), key=math.prod)
    return products * math.prod(heads) * T * T * H


def page(rows: list[dict[str, Any]]) -> str:
    """docs/step-cost.md."""
    of = {(row["name"], row["commit"]): row for row in rows}
    versions = sorted({f"JAX {row['jax']} with libtpu {row['libtpu']}" for row in rows})
    compiled = [row for row in rows if "parts" in row]
    lines = [
        "# What a training step spends",
        "",
        "Gemma 2B (2.5 billion parameters in float32, bfloat16 compute, 256,000 words), AdamW, rows of",
        "2048 tokens that all count: the exact step, compiled by the TPU's compiler, and its program read",
        "instruction by instruction (`bench/hlo.py`; XLA's own cost analysis counts the body of a loop",
        "once). No step was run: milliseconds are the least that the published peaks allow, each",
        "instruction at the longer of its products at the peak and its bytes at the bandwidth; what moves",
        f"between chips is not counted. {', '.join(versions)}.",
        "`python bench/step_cost.py` says how it is made.",
        "",
        "v5e and v5p are one chip, v5e-8 and v6e-8 eight; figures are a chip's. The full fine-tune is",
        "refused for one v5e chip, as four times 10 GB are more than its 15.75 GiB: one v5p chip (95.74 GiB)",
        "stands for a large card.",
        "",
        "| step | commit | remat | tokens a chunk of the loss | peak GiB | forward ms | loss ms "
        "| backward ms | update ms | all ms | the loss moves, GB | all moves, GB | TFLOP |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in compiled:
        ms = [1e3 * row["parts"][part].get(row["topology"], 0) for part in PARTS]
        moved, flops = (sum(part.get(key, 0) for part in row["parts"].values()) for key in ("bytes", "flops"))
        lines.append(
            f"| {_step(row)} | {row['commit']} | {row['remat']} | {row['chunk']:,} | {row['peak_gib']:.2f} | "
            + " | ".join(f"{one:.1f}" for one in (*ms, sum(ms)))
            + f" | {row['parts']['loss']['bytes'] / GB:.1f} | {moved / GB:.1f} | {flops / 1e12:.1f} |"
        )
    lines += [
        "",
        "## What the same programs would take on an H200, by arithmetic alone",
        "",
        "The instructions of the programs for one chip, with an H200's figures (989 TFLOP/s in bfloat16,",
        "4.8 TB/s) in place of the TPU's. A GPU's compiler fuses otherwise, and no product reaches the peak:",
        "this is a bound, no expectation. What was measured on a card is in [gpu.md](gpu.md).",
        "",
        "| step | commit | remat | forward ms | loss ms | backward ms | update ms | all ms | goal s "
        "| of the bound that the goal asks |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in compiled:
        if row["topology"].endswith(":2x4"):
            continue
        ms = [1e3 * row["parts"][part].get(H200, 0) for part in PARTS]
        goal = GOALS[row["adapter"]]
        lines.append(
            f"| {_step(row)} | {row['commit']} | {row['remat']} | "
            + " | ".join(f"{one:.1f}" for one in (*ms, sum(ms)))
            + f" | {goal:.3f} | {100 * sum(ms) / 1e3 / goal:.0f} % |"
        )
    row = of[LARGE]
    outside = sorted(row["outside"].items(), key=lambda task: -task[1])
    lines += [
        "",
        "## Outside the layers and the loss",
        "",
        f"Of {_step(row)} at {row['commit']}, by what each instruction is for:",
        "",
        "| for | GB | bytes a parameter |",
        "|---|---:|---:|",
        *(f"| {task} | {size / GB:.1f} | {size / PARAMETERS:.1f} |" for task, size in outside),
        "",
        "* Parameters and moments: one pass. Clipping, AdamW, decay and the rate are one fusion, which",
        "  reads parameter, gradient and two moments and writes three of them, 28 bytes.",
        "* The norm of the gradient is a pass of its own, 4 bytes: clipping needs it before the update.",
        "* Parameters are cast to bfloat16 once a step, 6 bytes, and forward pass, recomputation and",
        "  backward pass read the copy: XLA takes the cast out of the scan over the layers. Over eight chips",
        "  what is gathered is bfloat16 too.",
        "* Zeros that gradients are added to, 4 bytes: the scan's transpose asks for them, and of two stacks",
        "  of one shape XLA does not see that each is written over.",
        "* Of the loss the logits are float32: for a word of a token 4 bytes written, 4 read for the sum of",
        "  exponentials, 4 read and 2 written as gradients, and 2 read in each of two products. In bfloat16",
        "  they would be wrong in the third digit, which is more than a rounding of the loss.",
        "",
    ]
    return "\n".join(lines)


def _step(row: dict[str, Any]) -> str:
    generation, sides = row["topology"].split(":")
    device = f"{generation}-8" if sides == "2x4" else generation
    return f"{'LoRA' if row['adapter'] == 'lora' else 'full'}, {row['batch']} × {row['tokens']}, {device}"


if __name__ == "__main__":
    main()
