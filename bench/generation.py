"""Answers of unequal length, as a test set has them: one JSON line with tokens a second.

uv run python bench/generation.py                    # 128 prompts of 49 to 64 tokens, at most 128 new ones
uv run python bench/generation.py --rate 0.03 model.num_layers=3 model.vocab_size=8192     # any key

distilgpt2 of random weights in float32, drawn so wide that no answer repeats itself; a token ends an answer
with the probability `--rate`. `steps_at_best` counts the tokens by the rows of a call: fewer steps cannot be.
"""

import argparse
import hashlib
import json
import os
import time
from typing import Any

from bench import WORKLOADS, composed
from tunix_exp.host_memory import ask_for_huge_pages

SEED = 1234
PROMPTS, SHORTEST, LONGEST, NEW = 128, 49, 64, 128


def main() -> None:
    ask_for_huge_pages()
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("overrides", nargs="*", help="key=value of the project's config")
    words.add_argument(
        "--rate", type=float, default=0.015, help="the part of the vocabulary that ends an answer"
    )
    chosen = words.parse_intermixed_args()
    fixed = ("device.compilation_cache=null", "model.init_std=0.3")
    print(
        json.dumps(measured(composed(WORKLOADS["W4"], (*fixed, *chosen.overrides)), chosen.rate)), flush=True
    )


def measured(config: Any, rate: float) -> dict[str, Any]:
    """The figures of one call behind another that compiled the programs."""
    # Only now: importing JAX reads the environment.
    import numpy as np

    from tunix_exp.evaluation.generate import generate
    from tunix_exp.evaluation.rounds import MOST_ROWS
    from tunix_exp.models import weights

    dtypes: Any = {"param_dtype": config.device.param_dtype, "compute_dtype": config.device.compute_dtype}
    model = weights.load(config.model, config.adapter, **dtypes, seed=config.seed).model
    rng, size = np.random.default_rng(SEED), config.model.vocab_size
    lengths = rng.integers(SHORTEST, LONGEST + 1, PROMPTS).tolist()
    prompts = [rng.integers(0, size, length).tolist() for length in lengths]
    ends = tuple(rng.choice(size, round(size * rate), replace=False).tolist())
    sizes: Any = {"max_new_tokens": NEW, "pad_id": 0, "batch_size": 32}
    # As many as are more than the rows of a call: else that would be another program.
    generate(model, prompts[: MOST_ROWS["cpu"] + 1], eos_ids=ends, **sizes)
    clock_s, processor_s = time.perf_counter(), time.process_time()
    answers = generate(model, prompts, eos_ids=ends, **sizes)
    clock_s, processor_s = time.perf_counter() - clock_s, time.process_time() - processor_s
    tokens = sum(len(answer.tokens) for answer in answers)
    return {
        "prompts": PROMPTS,
        "new_tokens": tokens,
        "longest": max(len(answer.tokens) for answer in answers),
        "steps_at_best": -(-tokens // MOST_ROWS["cpu"]),
        "tokens_per_s": round(tokens / clock_s, 1),
        "tokens_per_processor_s": round(tokens / processor_s, 1),
        "answers": hashlib.sha256(repr(answers).encode()).hexdigest()[:16],
        "loadavg1": round(os.getloadavg()[0], 2),
    }


if __name__ == "__main__":
    main()
