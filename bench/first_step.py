"""Seconds from a command of the real program to the end of its first training step, as one JSON line.

uv run python bench/first_step.py FOLDER      # of compiled programs: empty for the first time, then filled
uv run python bench/first_step.py FOLDER --widths 128,256,384,512      # of a run with batches of these widths

The run is W1's: GPT-2 124M with random weights, 4 × 128 tokens of the bundled data, no evaluation. A step has
ended when its line is in metrics.jsonl. Of several widths all programs are compiled, and one step is taken.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import OPTIMIZER, WORKLOADS
from stopwatch import versions
from tunix_exp.exits import COMPLETED, INTERRUPTED


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("cache", type=Path)
    words.add_argument("--widths", help="tokens of the batches, a comma between two")
    chosen = words.parse_args()
    work, tokens, more = WORKLOADS["W1"], WORKLOADS["W1"].tokens, ["training.steps=1"]
    if chosen.widths:
        tokens = max(map(int, chosen.widths.split(",")))
        more = [
            "training.batching=buckets", f"training.bucket_widths=[{chosen.widths}]", "training.steps=60",
            "training.stop_at_step=1", "training.save_every_steps=null",
        ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "tunix_exp", *work.words, "model.weights=random",
            "model.tokenizer=bundled:bytes", "data=dev-reasoning-v2", "eval=none", "device=cpu", *OPTIMIZER,
            f"training.batch_size={work.batch}", f"data.max_tokens={tokens}", "data.too_long=drop",
            *more, f"device.compilation_cache={chosen.cache}", f"hydra.run.dir={folder}",
        ]  # fmt: skip
        begun_s = time.time()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != (INTERRUPTED if chosen.widths else COMPLETED):
            sys.exit(done.stderr)
        cold_s = (Path(folder) / "metrics.jsonl").stat().st_mtime - begun_s
        manifest = json.loads((Path(folder) / "run_manifest.json").read_text())
    row = {
        "widths": chosen.widths,
        "peer": "tunix_exp_cli",
        "workload": "W1",
        "cold_s": round(cold_s, 2),
        # A run that stops after a step has neither.
        "peak_rss_mb": None if chosen.widths else round(manifest["peak_memory_bytes"] / 2**20),
        "stages_s": manifest["times_s"],
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": versions("jax", "jaxlib", "flax", "optax"),
    }
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
