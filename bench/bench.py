"""One workload by the project's own path, as one JSON line with the fields of the peers' scripts.

uv run python bench/bench.py W1                                   # six timed steps, nothing cached on disk
uv run python bench/bench.py W1 --cache FOLDER                    # compiled programs are kept there
uv run python bench/bench.py W5 model.remat=block --timed 2       # any key of the config may follow

W1 GPT-2 124M, 4 × 128    W2 distilgpt2, 8 × 128    W3 W1 with LoRA of rank 8 on the attention's projections
W4 greedy generation: distilgpt2, 8 prompts of 64 tokens, 64 new ones    W5 a small Gemma of 256,000 words,
2 × 256. Random weights, float32, AdamW at a constant rate, the loss of every token, read after each step.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stopwatch import Stopwatch

SEED = 1234
WARM_STEPS, TIMED_STEPS = 2, 6
WARM_CALLS, TIMED_CALLS = 1, 3
PACKAGES = ("jax", "jaxlib", "flax", "optax")

# What all peers do too: everything decays, nothing is clipped, the rate does not change.
OPTIMIZER = (
    "optim=adamw", "optim.peak_lr=1e-4", "optim.weight_decay=0.01", "optim.decay_mask=all",
    "optim.schedule=constant", "optim.warmup_steps=0", "optim.final_lr_ratio=null", "optim.clip_norm=null",
)  # fmt: skip
SMALL_GEMMA = (
    "model=gemma2b", "model.num_layers=8", "model.width=512", "model.mlp_width=2048", "model.num_heads=4",
    "model.num_key_heads=1", "model.head_width=128", "model.query_pre_attn_scalar=128",
    "model.num_positions=1024", "model.layer_loop=unroll", "model.remat=none",
)  # fmt: skip


@dataclass(frozen=True)
class Workload:
    """Words for the project's command line, and the shape of the work; `new` tokens where it generates."""

    words: tuple[str, ...]
    batch: int
    tokens: int
    new: int = 0


WORKLOADS = {
    "W1": Workload(("model=gpt2",), batch=4, tokens=128),
    "W2": Workload(("model=distilgpt2",), batch=8, tokens=128),
    "W4": Workload(("model=distilgpt2",), batch=8, tokens=64, new=64),
    "W5": Workload(SMALL_GEMMA, batch=2, tokens=256),
}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("workload", choices=WORKLOADS)
    words.add_argument("overrides", nargs="*", help="key=value of the project's config")
    words.add_argument("--timed", type=int, help="timed steps or calls")
    words.add_argument("--cache", default="null", help="folder of compiled programs; none is kept without")
    chosen = words.parse_args()
    work = WORKLOADS[chosen.workload]
    measure = generation if work.new else training
    cache = f"device.compilation_cache={chosen.cache}"
    measure(chosen.workload, work, chosen.timed, (cache, *chosen.overrides))


def training(name: str, work: Workload, timed: int | None, words: tuple[str, ...]) -> None:
    watch = Stopwatch(warm=WARM_STEPS, timed=timed or TIMED_STEPS)
    config = composed(work, words)
    watch.phase("composed")
    step = Step(config)
    watch.phase("compiled")
    for tokens_BT in token_batches(step.vocab_size, work, watch.laps_wanted):
        watch.lap(step(every_token(tokens_BT)))
    watch.report(
        peer="tunix_exp",
        workload=name,
        units_a_lap=work.batch * work.tokens,
        packages=PACKAGES,
        n_params=step.n_params,
        n_trainable=step.n_trainable,
        flops_per_step=flops(step.state.params, config.model, work),
        overrides=words[1:],
    )


def generation(name: str, work: Workload, timed: int | None, words: tuple[str, ...]) -> None:
    watch = Stopwatch(warm=WARM_CALLS, timed=timed or TIMED_CALLS)
    config = composed(work, words)
    watch.phase("composed")
    from tunix_exp.evaluation.generate import generate
    from tunix_exp.models import weights
    from tunix_exp.models.digest import parameter_count

    model = weights.load(
        config.model,
        param_dtype=config.device.param_dtype,
        compute_dtype=config.device.compute_dtype,
        seed=config.seed,
    ).model
    watch.phase("built")
    prompts = next(token_batches(config.model.vocab_size, work, 1)).tolist()
    while not watch.is_done:
        # No token ends an answer, so that every one has its 64.
        answers = generate(
            model, prompts, max_new_tokens=work.new, eos_ids=(), pad_id=0, batch_size=work.batch
        )
        watch.lap()
    assert [len(answer.tokens) for answer in answers] == [work.new] * work.batch
    from flax import nnx

    watch.report(
        peer="tunix_exp",
        workload=name,
        units_a_lap=work.batch * work.new,
        packages=PACKAGES,
        n_params=parameter_count(nnx.state(model)),
        overrides=words[1:],
    )


def composed(work: Workload, words: tuple[str, ...]) -> Any:
    """The validated config of the command line `work.words … words`; the environment stands as it says."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from tunix_exp.cli import conf_folder
    from tunix_exp.config import validate
    from tunix_exp.device import environment

    shape = (f"training.batch_size={work.batch}", f"data.max_tokens={work.tokens}")
    fixed = ("model.weights=random", "eval=none", "device=cpu")
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("config", overrides=[*work.words, *fixed, *OPTIMIZER, *shape, *words])
    plain = OmegaConf.to_container(config, resolve=True)
    validated = validate(plain)  # pyright: ignore[reportArgumentType]
    environment.apply(validated.device, preflight=False)
    return validated


class Step:
    """The training step of a config with its state, as a run holds them: compiled first, then filled."""

    def __init__(self, config: Any) -> None:
        # Only now: importing JAX reads the environment.
        import jax
        from flax import nnx

        from tunix_exp.device.mesh import make_mesh
        from tunix_exp.models import weights
        from tunix_exp.models.digest import parameter_count
        from tunix_exp.training import optim
        from tunix_exp.training.footprint import Setting
        from tunix_exp.training.step import compile_step, placed_state

        mesh = make_mesh(config.device, jax.devices())
        rows, tokens = config.training.batch_size, config.data.max_tokens
        setting = Setting(config.model, config.optim, config.device, mesh, rows, tokens)
        graphdef, arguments = setting.arguments()
        structure = optim.structure(config.optim)
        self.compiled = compile_step(graphdef, structure, mesh, *arguments)
        model = weights.load(
            config.model,
            param_dtype=config.device.param_dtype,
            compute_dtype=config.device.compute_dtype,
            seed=config.seed,
            mesh=mesh,
        ).model
        _, params = nnx.split(model)
        self.state = placed_state(structure, params, config.device.state_dtype, mesh)
        self.scalars = optim.scalars(config.optim, total_steps=1)
        self.vocab_size = config.model.vocab_size
        self.n_params = self.n_trainable = parameter_count(params)

    def __call__(self, batch: Any) -> float:
        """The loss of `batch` before the update, which is done."""
        self.state, metrics = self.compiled(self.state, batch, self.scalars)
        return float(metrics.loss)


def flops(params: Any, model: Any, work: Workload) -> int:
    """Floating-point operations of a step: two for each weight of a product and token, and 4·T·N·H a token
    and layer for attention (the half that the causal mask blanks is counted); twice as much backward.
    """
    import jax

    from tunix_exp.models.digest import path_of

    weights = sum(
        leaf.size
        for keys, leaf in jax.tree_util.tree_leaves_with_path(params)
        if path_of(keys).endswith(("kernel", "token_embedding/embedding"))
    )
    heads_width = model.width if model.family == "gpt2" else model.num_heads * model.head_width
    attention = 4 * work.tokens * heads_width * model.num_layers
    return 3 * work.batch * work.tokens * (2 * weights + attention)


def every_token(tokens_BT: Any) -> Any:
    """Rows without padding whose every token counts."""
    import numpy as np

    from tunix_exp.training.step import BatchArrays

    tokens_BT = tokens_BT.astype(np.int32)
    return BatchArrays(tokens_BT, np.ones_like(tokens_BT), np.ones(tokens_BT.shape, bool))


def token_batches(vocab_size: int, work: Workload, count: int) -> Iterator[Any]:
    """`count` batches of random tokens, the very ones that the peers get."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    for _ in range(count):
        yield rng.integers(0, vocab_size, (work.batch, work.tokens), dtype=np.int64)


if __name__ == "__main__":
    main()
