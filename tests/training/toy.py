"""A toy model, its optimizer and random batches for the training tests."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tunix_exp.models.architecture import build
from tunix_exp.models.families.gpt2.config import GPT2Config
from tunix_exp.objectives.objective import Held, Policy
from tunix_exp.objectives.sft.batch import BatchArrays
from tunix_exp.objectives.sft.config import ObjectiveConfig
from tunix_exp.objectives.sft.objective import objective
from tunix_exp.training import optim
from tunix_exp.training.config import AdafactorConfig, AdamWConfig, LionConfig, SGDConfig
from tunix_exp.training.feed import Feed
from tunix_exp.training.step import TrainState, init_state

MODEL = GPT2Config(
    family="gpt2", name="toy", weights="random", stored_dtype="float32", quantize=None,
    tokenizer="bundled:bytes",
    vocab_size=31, num_positions=24, width=16, mlp_width=32, num_layers=2, num_heads=2, norm_epsilon=1e-5,
    tied_embeddings=True, init_std=0.02, layer_loop="unroll", remat="none",
)  # fmt: skip
COMMON = {
    "peak_lr": 1e-2, "schedule": "constant", "schedule_per": "run", "warmup_steps": 0, "final_lr_ratio": None,
    "wsd_decay_fraction": None, "clip_norm": 1.0, "weight_decay": 0.01, "decay_mask": "matrices",
    "accumulation_steps": 1, "rounding": "nearest",
}  # fmt: skip
ADAMW = AdamWConfig(name="adamw", b1=0.9, b2=0.999, eps=1e-8, **COMMON)
ADAFACTOR = AdafactorConfig(
    name="adafactor", decay_rate=0.8, min_dim_size_to_factor=8, clipping_threshold=1.0, eps=1e-30, **COMMON
)
LION = LionConfig(name="lion", b1=0.9, b2=0.99, **COMMON)
SGD = SGDConfig(name="sgd", momentum=0.9, nesterov=True, **COMMON)
OPTIMIZERS = (ADAMW, ADAFACTOR, LION, SGD)
SFT = objective(ObjectiveConfig(name="sft"))


def toy(config: Any = ADAMW, *, seed: int = 0, model: GPT2Config = MODEL) -> tuple[Any, TrainState]:
    """A graphdef and the state before the first update."""
    graphdef, params = _built(model, seed)
    # Steps donate their state: every test trains a copy.
    return graphdef, init_state(optim.structure(config), jax.tree.map(jnp.copy, params), "float32")


@functools.cache
def _built(model: GPT2Config, seed: int) -> Any:
    return nnx.split(build(model, param_dtype="float32", compute_dtype="float32", seed=seed))


def batch(seed: int, rows: int = 4, length: int = 12) -> BatchArrays:
    """Rows of different real lengths, each with a prompt that bears no loss."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, MODEL.vocab_size, (rows, length), dtype=np.int32)
    lengths = rng.integers(6, length + 1, rows)
    index = np.arange(length)[None, :]
    real = index < lengths[:, None]
    return BatchArrays(np.where(real, tokens, 0), real.astype(np.int32), real & (index >= 3))


class Batches:
    """A source of random batches, one a step, as far as a loop asks."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def arrays(self, step: int) -> BatchArrays:
        return batch(1000 * self.seed + step)

    def names(self, step: int) -> tuple[str, ...]:
        return tuple(f"step{step}-row{row}" for row in range(4))


def feed(
    graphdef: Any, source: Any, *, place: Any = jax.device_put, made: Any = SFT, keep: Any = None
) -> Feed:
    """The batches of `source` on their way, for a model without an adapter."""
    return Feed(
        made,
        source,
        place=place,
        policy=lambda params: Policy(graphdef, params, Held()),
        programs={},
        keep=keep or (lambda step, lines: None),
    )
