"""W8 (bench/sizes.py) by transformers on PyTorch on a CPU: float32, SDPA, compiled, fused AdamW.

VENV/bin/python bench/peers/llama_torch.py W8 [--eager]
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import sizes
from stopwatch import Stopwatch


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("workload", choices=("W8",))
    words.add_argument("--eager", action="store_true", help="not compiled")
    words.add_argument("--timed", type=int)
    chosen = words.parse_args()
    shape = sizes.SHAPES[chosen.workload]
    watch = Stopwatch(warm=2, timed=chosen.timed or 6)
    os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # a cold start is one

    import numpy as np
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(**sizes.LLAMA, max_position_embeddings=1024, attn_implementation="sdpa")
    model = LlamaForCausalLM(config)
    model.train()
    watch.phase("built")
    rng = np.random.default_rng(sizes.SEED)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=sizes.LEARNING_RATE, weight_decay=sizes.WEIGHT_DECAY, fused=True
    )
    call = model if chosen.eager else torch.compile(model)
    for _ in range(watch.laps_wanted):
        tokens_BT = torch.from_numpy(rng.integers(0, config.vocab_size, (shape["batch"], shape["tokens"])))
        loss = call(input_ids=tokens_BT, labels=tokens_BT, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        watch.lap(loss.item())
    watch.report(
        peer="llama_torch_eager" if chosen.eager else "llama_torch_compile",
        workload=chosen.workload,
        units_a_lap=shape["batch"] * shape["tokens"],
        packages=("torch", "transformers"),
        n_params=sum(p.numel() for p in model.parameters()),
        n_trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
    )


main()
