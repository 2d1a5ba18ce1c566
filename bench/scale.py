"""What fits on how many chips, and what crosses between them: the step compiled for slices that are not here.

    uv run --extra tpu python bench/scale.py gemma2b v5e:4x4 --batch 128     # a line of bench/scale.jsonl
    uv run python bench/scale.py --page                                      # its section of docs/scale.md

FSDP over all devices, rows of 2048 tokens. Bytes between chips are of what each collective of the compiled
program gives a device, as often as its loop runs it.
"""

import argparse
import datetime
import json
import tempfile
import time
from collections import defaultdict
from importlib import metadata
from pathlib import Path
from typing import Any

import hlo
from fit import composed_of, setting_of
from tunix_exp.device import environment

ROOT = Path(__file__).resolve().parents[1]
KEPT, PAGE = ROOT / "bench" / "scale.jsonl", ROOT / "docs" / "scale.md"
CASES = ROOT / "bench" / "hosts.jsonl"  # what bench/hosts.py printed
BEGIN, END = "<!-- made by bench/scale.py -->", "<!-- until here -->"
GIB = 2**30
_COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("model", nargs="?")
    words.add_argument("topology", nargs="?")
    words.add_argument("--batch", type=int)
    words.add_argument("--tokens", type=int, default=2048)
    words.add_argument("--adapter", default="none", choices=("none", "lora"))
    words.add_argument("--page", action="store_true")
    chosen = words.parse_args()
    if chosen.page:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        rows, cases = ([json.loads(line) for line in file.read_text().splitlines()] for file in (KEPT, CASES))
        lines = [BEGIN, "", *section(rows), "", *seen(cases), "", END]
        PAGE.write_text(before + "\n".join(lines) + rest.partition(END)[2])
        return
    row = measured(chosen.model, chosen.topology, chosen.adapter, chosen.batch, chosen.tokens)
    with KEPT.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row))


def measured(model: str, topology: str, adapter: str, batch: int, tokens: int) -> dict[str, Any]:
    """The plan's and the compiler's figures for one step."""
    config = composed_of(
        [
            f"model={model}", f"adapter={adapter}", "device=tpu", f"device.topology={topology}",
            "device.topology_when_absent=null", "mode=preflight", f"data.max_tokens={tokens}",
            f"training.batch_size={batch}",
        ]
    )  # fmt: skip
    environment.apply(config.device, preflight=True)
    from tunix_exp.device import plan as plans
    from tunix_exp.training import optim
    from tunix_exp.training.footprint import footprint
    from tunix_exp.training.step import compile_step

    device, setting = setting_of(config)
    taken = footprint(setting)
    seconds, bound = taken.work.seconds(device.speed)
    graphdef, arguments = setting.arguments
    begun = time.monotonic()
    compiled = compile_step(
        graphdef, optim.structure(config.optim), setting.objective.loss, device.mesh, *arguments
    )
    figures = plans.compiled_figures(compiled, "tpu")
    return {
        "model": model, "adapter": adapter, "topology": topology, "devices": device.mesh.size,
        "batch": batch, "tokens": tokens, "remat": setting.model.remat, "attention": setting.attention,
        "memory_gib": round(device.memory_bytes / GIB, 2),
        "planned_gib": round(taken.parts.total / GIB, 3),
        "compiled_gib": round(figures.peak_bytes / GIB, 3),
        "flops": taken.work.flops, "roofline_s": round(seconds, 4), "bound": bound,
        "collectives": collectives(
            _kept(compiled.as_text(), f"{model}-{adapter}-{topology}-{batch}"),
            layers=config.model.num_layers,
            chunks=-(-batch * tokens // device.mesh.size // setting.loss_chunk.tokens),
        ),
        "compile_s": round(time.monotonic() - begun, 1),
        "date": datetime.date.today().isoformat(),
        "jax": metadata.version("jax"), "libtpu": metadata.version("libtpu"),
    }  # fmt: skip


def _kept(text: str, name: str) -> str:
    """The program's text, which lies in a folder of the system's too, to be looked into."""
    (Path(tempfile.gettempdir()) / f"{name}.hlo.txt").write_text(text)
    return text


def collectives(text: str, *, layers: int, chunks: int) -> dict[str, dict[str, float]]:
    """Of each kind how many a step has, and the GiB that a device gets by them.

    A loop whose length its condition does not tell is that of the layers or of the loss.
    """
    found: dict[str, dict[str, float]] = defaultdict(lambda: {"a_step": 0, "gib": 0.0})

    def trips(loop: hlo.Instruction, around: tuple[hlo.Instruction, ...]) -> int:
        is_of_layers = any(array.sizes[:1] == (layers,) and len(array.sizes) > 1 for array in loop.arrays)
        return 1 if around else layers if is_of_layers else chunks

    for cost in hlo.Program(text).costs(trips):
        kind = next((one for one in _COLLECTIVES if cost.instruction.opcode.startswith(one)), None)
        if kind is not None:
            # what begins one names its operand too: the largest is what it gives, or as large
            largest = max((hlo._bytes(array) for array in cost.instruction.arrays), default=0)
            found[kind]["a_step"] += cost.runs
            found[kind]["gib"] += cost.runs * largest / GIB
    return {kind: {"a_step": one["a_step"], "gib": round(one["gib"], 3)} for kind, one in found.items()}


def section(rows: list[dict[str, Any]]) -> list[str]:
    """The tables, what the compiler says and what arithmetic says apart."""
    rows = sorted(rows, key=lambda row: (row["model"], row["adapter"], row["devices"]))
    versions = ", ".join(sorted({f"JAX {row['jax']} with libtpu {row['libtpu']}" for row in rows}))
    days = sorted({row["date"] for row in rows})
    head = ("model", "adapter", "slice", "batch × tokens", "remat")

    def named(row: dict[str, Any]) -> list[str]:
        size = f"{row['batch']} × {row['tokens']}"
        slice_ = f"`{row['topology']}` ({row['devices']})"
        return [f"`{row['model']}`", row["adapter"], slice_, size, row["remat"]]

    compiled = [
        [*named(row), f"{row['compiled_gib']:.2f}", f"{row['memory_gib']:.2f}", *_moved(row)] for row in rows
    ]
    estimated = [
        [*named(row), f"{row['planned_gib']:.2f}", f"{row['flops']:.3g}", f"{row['roofline_s']:.3f}"]
        for row in rows
    ]
    return [
        f"{versions}, {' to '.join(dict.fromkeys((days[0], days[-1])))}; `python bench/scale.py --page` from"
        " `bench/scale.jsonl`.",
        "",
        "**From the compiled program**, per device: the most that lives at a time, and what each kind of",
        "collective gives it in a step, in GiB (how many of them). Permutes are gathers and scatters that",
        "the compiler has made rings of, to compute meanwhile.",
        "",
        *_table((*head, "GiB", "of", *_COLLECTIVES), compiled),
        "",
        "**Estimated** by arithmetic, per device: the plan's memory, operations, and the least time that the",
        "chip's published peaks allow for its own work. What crosses between chips is not in it, nor what",
        "they gather of each other's weights.",
        "",
        *_table((*head, "GiB", "FLOPs", "roofline s/step"), estimated),
    ]


_SAYS = {
    "full": "all parameters, two processes of four devices",
    "lora": "LoRA, two processes of four devices",
    "four": "all parameters, four processes of two devices",
    "to": "two processes go on from the checkpoint of one",
    "from": "one process goes on from the checkpoint of two",
}


def seen(cases: list[dict[str, Any]]) -> list[str]:
    """What bench/hosts.py found."""
    same = [
        [
            _SAYS[case["case"]],
            *(f"{case[file]['largest_relative_difference']:.1e}" for file in _LOSSES),
            *(_equal(case[which]) for which in _ANSWERS),
        ]
        for case in cases
        if case["case"] in _SAYS
    ]
    ends = [
        [
            f"{case['signal']} to process {case['to']}",
            f"{case['other_ended_after_s']:.0f}",
            f"`{case['status']}`: {case['error'].partition(';')[0]}",
        ]
        for case in cases
        if "signal" in case
    ]
    return [
        "## Measured: several processes beside one",
        "",
        "`model=tiny-gemma`, twelve steps on eight devices of one machine's processor, by `bench/hosts.py`:",
        "the largest relative difference to one process of eight devices.",
        "",
        *_table(("run", "training losses", "held-out losses", "base answers", "trained answers"), same),
        "",
        "With `timeout_s=30`, in training:",
        "",
        *_table(("what happens", "the other ends after s", "the run says"), ends),
    ]


_LOSSES, _ANSWERS = ("metrics.jsonl", "heldout.jsonl"), ("base answers", "trained answers")


def _equal(found: dict[str, Any]) -> str:
    return f"{found['rows']} equal" if found["are_equal"] else "different"


def _moved(row: dict[str, Any]) -> list[str]:
    kinds = (row["collectives"].get(kind) for kind in _COLLECTIVES)
    return ["–" if one is None else f"{one['gib']:.2f} ({one['a_step']})" for one in kinds]


def _table(head: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


if __name__ == "__main__":
    main()
