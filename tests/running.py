"""Run the program in this process, at toy size, and look at what it left."""

import functools
import json
import math
from pathlib import Path
from typing import Any

from tunix_exp import cli

# The default experiment, as small as it goes; JAX is up already, so the device is the session's.
TOY = (
    "device=cpu", "device.compilation_cache=null",
    "model.width=16", "model.mlp_width=32", "model.num_layers=1", "model.num_heads=2",
    "model.num_positions=64",
    "data.max_rows=60",
    "training.steps=4", "training.batch_size=4", "training.save_every_steps=null", "optim.warmup_steps=1",
    "eval.max_items=5", "eval.max_new_tokens=6", "eval.heldout_every_steps=null",
)  # fmt: skip


def run_toy(folder: Path, *overrides: str) -> int:
    """The exit status of the toy experiment with `overrides`, run in `folder`."""
    return run(folder, *TOY, *overrides)


def run(folder: Path, *overrides: str) -> int:
    """The exit status of `python -m tunix_exp hydra.run.dir=folder *overrides`."""
    alike_is_drawn_once()
    return cli.main([f"hydra.run.dir={folder}", *overrides])


@functools.cache
def alike_is_drawn_once() -> None:
    """From here on a run of this process gets a copy of a picture that was drawn of figures like its own.

    Drawing takes a quarter of a toy run. Alike are as many rows of the same columns, each a number where the
    others have one; what the numbers look like is for tests/report/test_curves.py.
    """
    from tunix_exp.stages import report

    draw, pictures = report.draw_curves, {}

    def kind(value: Any) -> str:
        is_number = isinstance(value, (int, float)) and math.isfinite(value)
        return "number" if is_number else type(value).__name__

    def draw_curves(run: Path, target: Path) -> None:
        files = [run / "metrics.jsonl", *sorted(run.glob("heldout/*.jsonl")), *run.glob("heldout.jsonl")]
        rows = [[{key: kind(row[key]) for key in row} for row in read_jsonl(file)] for file in files]
        drawn = json.dumps(rows, sort_keys=True)
        if drawn not in pictures:
            draw(run, target)
            pictures[drawn] = target.read_bytes()
        target.write_bytes(pictures[drawn])

    report.draw_curves = draw_curves


def read_json(path: Path) -> Any:
    """What a JSON file holds."""
    return json.loads(path.read_text())


def read_jsonl(path: Path) -> list[Any]:
    """What each line of a JSONL file holds."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def bits(run: Path) -> dict[str, Any]:
    """What must be equal between two runs of one experiment: losses, predictions, weights."""
    exact = ("step", "loss", "lr", "grad_norm", "tokens", "response_tokens")
    found: dict[str, Any] = {"weights": read_json(run / "run_manifest.json")["model"]["trained_weight_hash"]}
    found["metrics"] = [{k: row[k] for k in exact if k in row} for row in read_jsonl(run / "metrics.jsonl")]
    for which in ("base", "trained"):
        found[which] = (run / "predictions" / f"{which}.jsonl").read_text()
    found["summary"] = read_json(run / "eval_summary.json")
    return found
