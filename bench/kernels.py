"""Where a training step's time goes on a device: its longest kernels by a trace, as one JSON line.

python bench/kernels.py G1 [key=value...]       # a workload of bench/bench.py, and any key of the config

A CPU has no kernels in its trace: the line then has none, and that it runs is what is seen.
"""

import argparse
import collections
import gzip
import json
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import bench

STEPS, LONGEST = 3, 10


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("workload", choices=bench.WORKLOADS)
    words.add_argument("overrides", nargs="*", help="key=value of the project's config")
    chosen = words.parse_args()
    work = bench.WORKLOADS[chosen.workload]
    config = bench.composed(work, ("device.compilation_cache=null", *chosen.overrides))
    # Only now: importing JAX reads the environment.
    import jax

    step = bench.Step(config, (work.tokens,))
    tokens = bench.token_batches(config.model.vocab_size, work, 2 * STEPS)
    batches = [bench.every_token(tokens_BT) for tokens_BT in tokens]
    for batch in batches[:STEPS]:
        step(batch)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        with jax.profiler.trace(folder, create_perfetto_trace=True):
            for batch in batches[STEPS:]:
                step(batch)
        wall_ms = 1e3 * (time.perf_counter() - begun) / STEPS
        found = Path(folder).rglob("*.json.gz")
        traced = json.loads(gzip.decompress(max(found, key=lambda file: file.stat().st_size).read_bytes()))
    kernels = kernels_of(traced["traceEvents"] if isinstance(traced, dict) else traced)
    row = {
        "workload": chosen.workload,
        "overrides": chosen.overrides,
        "step_ms_profiled": round(wall_ms, 1),
        "kernels_ms": round(sum(ms for ms, _ in kernels.values()), 1),
        "longest": [
            [name, round(ms, 2), round(runs, 1)] for name, (ms, runs) in list(kernels.items())[:LONGEST]
        ],
    }
    print(json.dumps(row))


def kernels_of(events: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """Milliseconds and runs a step of each kind of kernel on a stream of a GPU, the longest first."""
    named = {"process_name": {}, "thread_name": {}}
    for event in events:
        if event.get("name") in named:
            named[event["name"]][event["pid"], event.get("tid", 0)] = event["args"]["name"]
    processes = {pid: name for (pid, _), name in named["process_name"].items()}
    micros, runs = collections.Counter(), collections.Counter()
    for event in events:
        is_kernel = event.get("ph") == "X" and "gpu" in processes.get(event["pid"], "").lower()
        if is_kernel and "Stream" in named["thread_name"].get((event["pid"], event["tid"]), ""):
            kind = re.sub(r"[._]?\d+", "", event["name"])[:90]
            micros[kind] += event.get("dur", 0)
            runs[kind] += 1
    return {kind: (of / STEPS / 1e3, runs[kind] / STEPS) for kind, of in micros.most_common()}


if __name__ == "__main__":
    main()
