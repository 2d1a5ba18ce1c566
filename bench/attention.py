"""Four training steps with one attention kernel: losses and gradient norms, to lay beside another kernel's.

python bench/attention.py gpt2 cudnn [gpu]      # or gemma (heads of 256), gemma3 (a window of 64); or einsum

Rows hold three segments and padding. The line names the model and the kernel.
"""

import argparse
import json

import bench

MODELS = {
    "gpt2": ("model=gpt2", "model.num_layers=4"),
    "gemma": ("model=gemma2b", "model.num_layers=2", "model.vocab_size=4096"),
    "gemma3": ("model=gemma3-1b", "model.num_layers=6", "model.vocab_size=4096", "model.window=64"),
}
STEPS, ROWS, TOKENS = 4, 4, 256


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("model", choices=MODELS)
    words.add_argument("kernel", choices=("einsum", "cudnn"))
    words.add_argument("device", nargs="?", default="gpu", choices=("gpu", "cpu"))
    chosen = words.parse_args()
    work = bench.Workload(MODELS[chosen.model], batch=ROWS, tokens=TOKENS, device=chosen.device)
    kernel = f"device.attention={chosen.kernel}"
    config = bench.composed(work, ("device.compilation_cache=null", kernel, "optim.peak_lr=1e-3"))
    step = bench.Step(config, (TOKENS,))
    # Only now: importing JAX reads the environment.
    import numpy as np

    from tunix_exp.objectives.sft.batch import BatchArrays

    rng, seen = np.random.default_rng(bench.SEED), []
    for _ in range(STEPS):
        tokens_BT = rng.integers(0, config.model.vocab_size, (ROWS, TOKENS)).astype(np.int32)
        segments_BT = np.ones_like(tokens_BT)
        segments_BT[:, 100:180], segments_BT[:, 180:], segments_BT[1, 240:] = 2, 3, 0
        marked_BT = segments_BT > 0
        marked_BT[:, ::3] = False
        batch = BatchArrays(tokens_BT, segments_BT, marked_BT)
        step.state, metrics = step.by_width[TOKENS](step.state, batch, step.scalars, step.held)
        seen.append([float(metrics.loss), float(metrics.grad_norm)])
    print(json.dumps({"model": chosen.model, "kernel": chosen.kernel, "loss_and_gradient_norm": seen}))


if __name__ == "__main__":
    main()
