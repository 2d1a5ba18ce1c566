"""How fast this machine multiplies float32 matrices, as JAX and numpy do it: one JSON line of GFLOP/s.

uv run python bench/gemm.py

The shapes are those of W1's and W5's steps; the best of them is the rate that a step is held against.
"""

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

SHAPES = {
    "qkv": (512, 768, 2304),
    "mlp": (512, 768, 3072),
    "mlp_gradient": (768, 512, 3072),
    "unembedding": (512, 768, 50257),
    "small_gemma_mlp": (512, 512, 2048),
}
REPEATS = 7


def rate(product: Callable[[], Any], flops: int) -> float:
    product()
    taken_s = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        product()
        taken_s.append(time.perf_counter() - begun)
    return round(flops / statistics.median(taken_s) / 1e9, 1)


def main() -> None:
    rates: dict[str, dict[str, float]] = {"jax": {}, "numpy": {}}
    multiply = jax.jit(jax.numpy.matmul)
    rng = np.random.default_rng(0)
    for name, (rows, inner, columns) in SHAPES.items():
        a, b = (rng.standard_normal(shape, np.float32) for shape in ((rows, inner), (inner, columns)))
        flops = 2 * rows * inner * columns
        on_device = jax.device_put((a, b))
        rates["jax"][name] = rate(lambda p=on_device: jax.block_until_ready(multiply(*p)), flops)
        rates["numpy"][name] = rate(lambda a=a, b=b: a @ b, flops)
    best = max(max(of_library.values()) for of_library in rates.values())
    cpu = next(
        line.split(": ")[1]
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    row = {"workload": "GEMM", "cpu": cpu, "cores": os.cpu_count(), "best_gflops": best, "gflops": rates}
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
