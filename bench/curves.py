"""The project's losses against PyTorch's, step by step, from the same weights and the same batches.

uv run python bench/curves.py W1 --torch VENV/bin/python      # and W3; one line of bench/curves.jsonl
uv run python bench/curves.py W1 --torch … --steps 3 --layers 2 --out FILE

The other Python has torch, transformers and peft; it writes the weights, and its losses. No step may differ
by more than a ten-thousandth of the loss, or the exit status is 1.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench import WORKLOADS, Step, composed, every_token, token_batches
from stopwatch import versions

BENCH = Path(__file__).resolve().parent
LIMIT = 1e-4


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("workload", choices=("W1", "W3"))
    words.add_argument("--torch", required=True, help="a Python that has torch")
    words.add_argument("--steps", type=int, default=50)
    words.add_argument("--layers", type=int, default=12)
    words.add_argument("--out", type=Path, default=BENCH / "curves.jsonl")
    chosen = words.parse_args()
    work = WORKLOADS[chosen.workload]
    batches = list(token_batches(50257, work, chosen.steps))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        np.save(folder / "batches.npy", np.stack(batches))
        is_lora = chosen.workload == "W3"
        subprocess.run(
            [
                chosen.torch, str(BENCH / "peers" / "curve_torch.py"), place,
                "--batches", str(folder / "batches.npy"), "--layers", str(chosen.layers),
                *(["--lora"] if is_lora else []),
            ],
            check=True,
        )  # fmt: skip
        theirs = json.loads((folder / "losses.json").read_text())
        adapter = [f"adapter.weights={folder / 'adapter'}"] if is_lora else []
        overrides = (f"model.weights={folder / 'model'}", f"model.num_layers={chosen.layers}", *adapter)
        step = Step(composed(work, overrides), (work.tokens,))
        losses = [step(every_token(tokens_BT)) for tokens_BT in batches]
    row = compared(losses, theirs["losses"]) | {
        "workload": chosen.workload,
        "layers": chosen.layers,
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions("jax", "jaxlib", "flax", "optax") | theirs["versions"],
    }
    with chosen.out.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print({key: value for key, value in row.items() if not key.startswith("losses")})
    sys.exit(row["largest_relative_difference"] > LIMIT)


def compared(ours: list[float], theirs: list[float]) -> dict[str, Any]:
    """Both curves, and the largest difference with its step, counted from 1."""
    off = [abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True)]
    return {
        "steps": len(off),
        "largest_relative_difference": max(off),
        "at_step": 1 + off.index(max(off)),
        "losses": ours,
        "losses_torch": theirs,
    }


if __name__ == "__main__":
    main()
