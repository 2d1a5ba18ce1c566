"""One workload by the project's own path, as one JSON line with the fields of the peers' scripts.

uv run python bench/bench.py W1                                   # six timed steps, nothing cached on disk
uv run python bench/bench.py W1 --cache FOLDER                    # compiled programs are kept there
uv run python bench/bench.py W5 model.remat=block --timed 2       # any key of the config may follow

W1 GPT-2 124M, 4 × 128    W2 distilgpt2, 8 × 128    W3 W1 with LoRA of rank 8 on the attention's projections
W4 greedy generation: distilgpt2, 8 prompts of 64 tokens, 64 new ones    W5 a small Gemma of 256,000 words,
2 × 256. Random weights, float32, AdamW at a constant rate, the loss of every token, read after each step.

uv run python bench/bench.py W6 --gsm8k FILE --tokenizer FOLDER training.batching=packed …

W6 fine-tunes distilgpt2 on data=gsm8k as the option has it, 8 rows of at most 512 tokens, the loss of the
responses: each width that an epoch's batches have is timed, and the epoch is the sum of its batches.

On a GPU, in bfloat16 compute: G1 Gemma 2B, 4 × 2048    G2 the same with LoRA    G3 its generation, 64 prompts
of 128 tokens, 128 new ones. T1, T2, T3 are these at toy size, on a CPU: they show that it runs.
"""

import argparse
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sizes import SHAPES
from stopwatch import Stopwatch
from tunix_exp.host_memory import ask_for_huge_pages, give_back

SEED = 1234
WARM_STEPS, TIMED_STEPS = 2, 6
WARM_CALLS, TIMED_CALLS = 1, 3
TIMED_GSM8K = 3
PACKAGES = ("jax", "jaxlib", "flax", "optax")

# What all peers do too: everything decays, nothing is clipped, the rate does not change.
OPTIMIZER = (
    "optim=adamw", "optim.peak_lr=1e-4", "optim.weight_decay=0.01", "optim.decay_mask=all",
    "optim.schedule=constant", "optim.warmup_steps=0", "optim.final_lr_ratio=null", "optim.clip_norm=null",
)  # fmt: skip
LORA = ("adapter=lora", "adapter.rank=8", "adapter.alpha=16", "adapter.targets=[attention]")
GSM8K = ("model=distilgpt2", "data=gsm8k", "data.max_tokens=512")
SMALL_GEMMA = (
    "model=gemma2b", "model.num_layers=8", "model.width=512", "model.mlp_width=2048", "model.num_heads=4",
    "model.num_key_heads=1", "model.head_width=128", "model.query_pre_attn_scalar=128",
    "model.num_positions=1024", "model.layer_loop=unroll", "model.remat=none",
)  # fmt: skip
# Generation reads every weight for every token: as the checkpoint has them, not as training holds them.
GENERATING = (
    "device.param_dtype=bfloat16", "device.compute_dtype=bfloat16", "optim.rounding=stochastic",
)  # fmt: skip


@dataclass(frozen=True)
class Workload:
    """Words for the project's command line, and the shape of the work; `new` tokens where it generates."""

    words: tuple[str, ...]
    batch: int
    tokens: int
    new: int = 0
    device: str = "cpu"


WORKLOADS = {
    "W1": Workload(("model=gpt2",), batch=4, tokens=128),
    "W2": Workload(("model=distilgpt2",), batch=8, tokens=128),
    "W3": Workload(("model=gpt2", *LORA), batch=4, tokens=128),
    "W4": Workload(("model=distilgpt2",), batch=8, tokens=64, new=64),
    "W5": Workload(SMALL_GEMMA, batch=2, tokens=256),
    "W6": Workload(GSM8K, batch=8, tokens=512),
    "W8": Workload(("model=smollm2-135m",), **SHAPES["W8"]),
    "G1": Workload(("model=gemma2b",), **SHAPES["G1"], device="gpu"),
    "G2": Workload(("model=gemma2b", *LORA), **SHAPES["G2"], device="gpu"),
    "G3": Workload(("model=gemma2b", *GENERATING), **SHAPES["G3"], device="gpu"),
    "T1": Workload(("model=tiny-gemma",), **SHAPES["T1"]),
    "T2": Workload(("model=tiny-gemma", *LORA), **SHAPES["T2"]),
    "T3": Workload(("model=tiny-gemma", *GENERATING), **SHAPES["T3"]),
}


def main() -> None:
    ask_for_huge_pages()
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("workload", choices=WORKLOADS)
    words.add_argument("overrides", nargs="*", help="key=value of the project's config")
    words.add_argument("--timed", type=int, help="timed steps or calls")
    words.add_argument("--cache", default="null", help="folder of compiled programs; none is kept without")
    words.add_argument("--gsm8k", help="W6: train.jsonl")
    words.add_argument("--tokenizer", help="W6: folder of GPT-2's tokenizer")
    chosen = words.parse_intermixed_args()
    work, measured, more = WORKLOADS[chosen.workload], trained, ()
    if work.new:
        measured = generated
    elif chosen.workload == "W6":
        measured = fine_tuned
        more = (f"data.source={chosen.gsm8k}", f"model.tokenizer={chosen.tokenizer}")
    cache = f"device.compilation_cache={chosen.cache}"
    watch, figures = measured(composed(work, (cache, *more, *chosen.overrides)), work, chosen.timed)
    watch.report(
        peer="tunix_exp",
        workload=chosen.workload,
        units_a_lap=work.batch * (work.new or work.tokens),
        packages=PACKAGES,
        overrides=chosen.overrides,
        device_peak_mb=device_peak_mib(),
        **figures,
    )


def trained(config: Any, work: Workload, timed: int | None) -> tuple[Stopwatch, dict[str, Any]]:
    """A lap is a step on a batch of its own."""
    watch = Stopwatch(warm=WARM_STEPS, timed=timed or TIMED_STEPS)
    watch.phase("composed")
    step = Step(config, (work.tokens,))
    watch.phase("compiled")
    for tokens_BT in token_batches(config.model.vocab_size, work, watch.laps_wanted):
        watch.lap(step(every_token(tokens_BT)))
    return watch, {
        "n_params": step.n_params,
        "n_trainable": step.n_trainable,
        "flops_per_step": step.flops,
        "remat": step.remat,
        "planned_peak_mb": step.planned_mib,
    }


def fine_tuned(config: Any, work: Workload, timed: int | None) -> tuple[Stopwatch, dict[str, Any]]:
    """A lap is a step; of each width one lap is dropped, or is the cold one, and `timed` are kept."""
    # Only now: importing JAX reads the environment.
    from tunix_exp.data.batches import Batches
    from tunix_exp.data.mixture import Weighted
    from tunix_exp.data.render import Renderer
    from tunix_exp.data.sources import read
    from tunix_exp.data.tokenize import tokenize
    from tunix_exp.data.tokenizer import load_tokenizer
    from tunix_exp.objectives.sft.batch import BatchArrays

    data, training = config.data, config.training
    tokenizer = load_tokenizer(config.model.tokenizer, chat=data.template.chat, date=data.template.date)
    renderer = Renderer(data.template, own=tokenizer.own_chat)
    rows = tokenize(read(data), renderer, tokenizer, data.max_tokens, data.too_long)
    batches = Batches(
        [Weighted(rows.kept)],
        seed=config.seed,
        batch_size=training.batch_size,
        max_tokens=data.max_tokens,
        pad_id=tokenizer.pad_id,
        batching=training.batching,
        bucket_widths=training.bucket_widths,
    )
    epoch = batches.statistics()
    laps_a_width = 1 + (timed or TIMED_GSM8K)
    steps_of_width: dict[int, list[int]] = {width: [] for width in epoch.batches_of_width}
    for number in range(sum(epoch.batches_of_width.values())):
        of_width = steps_of_width[batches[number].tokens_BT.shape[1]]
        of_width.extend([number] * (len(of_width) < laps_a_width))
    # One width after the other, again and again: a lull or a rush of the machine meets all alike.
    laps = [
        (width, steps[lap % len(steps)])
        for lap in range(laps_a_width)
        for width, steps in steps_of_width.items()
    ]
    watch = Stopwatch(warm=len(steps_of_width) - 1, timed=len(laps) - len(steps_of_width))
    watch.phase("read")
    step = Step(config, tuple(steps_of_width))
    watch.phase("compiled")
    for _, number in laps:
        batch = batches[number]
        watch.lap(step(BatchArrays(batch.tokens_BT, batch.segment_ids_BT, batch.loss_mask_BT)))
    seconds: dict[int, list[float]] = {width: [] for width in steps_of_width}
    for (width, _), lap_s in zip(laps[len(steps_of_width) :], watch.kept, strict=True):
        seconds[width].append(lap_s)
    width_s = {width: statistics.median(of_width) for width, of_width in seconds.items()}
    epoch_s = sum(count * width_s[width] for width, count in epoch.batches_of_width.items())
    tokens = sum(len(example.tokens_T) for example in rows.kept)
    return watch, {
        "n_params": step.n_params,
        "n_trainable": step.n_trainable,
        "examples_per_s": round(epoch.examples / epoch_s, 4),
        "tokens_per_s": round(tokens / epoch_s, 2),
        "epoch_s": round(epoch_s, 1),
        "padding": round(1 - epoch.utilisation, 4),
        "batches": [
            [width, count, round(width_s[width], 4)] for width, count in epoch.batches_of_width.items()
        ],
    }


def generated(config: Any, work: Workload, timed: int | None) -> tuple[Stopwatch, dict[str, Any]]:
    """A lap is one call for all prompts; no token ends an answer, so that every one has its full length."""
    watch = Stopwatch(warm=WARM_CALLS, timed=timed or TIMED_CALLS)
    watch.phase("composed")
    # Only now: importing JAX reads the environment.
    from flax import nnx

    from tunix_exp.evaluation.generate import generate
    from tunix_exp.models import weights
    from tunix_exp.models.digest import parameter_count

    model = weights.load(
        config.model,
        config.adapter,
        param_dtype=config.device.param_dtype,
        compute_dtype=config.device.compute_dtype,
        seed=config.seed,
    ).model
    watch.phase("built")
    prompts = next(token_batches(config.model.vocab_size, work, 1)).tolist()
    while not watch.is_done:
        answers = generate(
            model, prompts, max_new_tokens=work.new, eos_ids=(), pad_id=0, batch_size=work.batch
        )
        watch.lap()
    assert [len(answer.tokens) for answer in answers] == [work.new] * work.batch
    return watch, {"n_params": parameter_count(nnx.state(model))}


def composed(work: Workload, words: tuple[str, ...]) -> Any:
    """The validated config of the command line `work.words … words`; the environment stands as it says."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from tunix_exp.cli import conf_folder
    from tunix_exp.cli.composing import applicable
    from tunix_exp.config import validate
    from tunix_exp.device import environment

    shape = (f"training.batch_size={work.batch}", f"data.max_tokens={work.tokens}")
    fixed = ("model.weights=random", "eval=none", f"device={work.device}")
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose(
            "config", overrides=[*work.words, *fixed, *OPTIMIZER, *shape, *words], return_hydra_config=True
        )
    plain = OmegaConf.to_container(applicable(config)[0], resolve=True)
    validated = validate(plain)  # pyright: ignore[reportArgumentType]
    environment.apply(validated.device, preflight=False)
    return validated


class Step:
    """The training step of a config with its state, as a run holds them: compiled first, then filled.

    One program for each width of a batch, in tokens.
    """

    def __init__(self, config: Any, widths: tuple[int, ...]) -> None:
        # Only now: importing JAX reads the environment.
        import jax

        from tunix_exp.device.check import check
        from tunix_exp.models import kernels, lora, weights
        from tunix_exp.models.digest import parameter_count
        from tunix_exp.models.loss_chunk import LossChunk
        from tunix_exp.objectives import registry
        from tunix_exp.objectives.objective import Held
        from tunix_exp.stages.plan.loss_chunk import chosen_chunk
        from tunix_exp.stages.plan.remat import chosen_remat, with_remat
        from tunix_exp.training import optim
        from tunix_exp.training.footprint import Setting, footprint
        from tunix_exp.training.step import compile_step, placed_state, step_scalars

        device = check(config.device, preflight=False)
        mesh = device.mesh
        assert isinstance(mesh, jax.sharding.Mesh)
        structure, objective = optim.structure(config.optim), registry.objective(config.objective)

        def setting_of(width: int, loss_chunk: LossChunk) -> Setting:
            return Setting(
                model=config.model,
                adapter=config.adapter,
                optim=config.optim,
                device=config.device,
                mesh=mesh,
                attention=kernels.choose(
                    config.device.attention,
                    config.model,
                    platform=config.device.platform,
                    device_kind=device.device_kind,
                    compute_dtype=config.device.compute_dtype,
                    max_tokens=width,
                ).kernel,
                objective=objective,
                batch_size=config.training.batch_size,
                max_tokens=width,
                loss_chunk=loss_chunk,
            )

        widest = setting_of(max(widths), LossChunk.of_cpu(config.model.vocab_size))
        remat = chosen_remat(widest, device).remat
        chunk = chosen_chunk(with_remat(widest, remat), device).chunk
        self.by_width, loading = {}, None
        for width in widths:
            setting = with_remat(setting_of(width, chunk), remat)
            graphdef, arguments = setting.arguments
            if loading is None:
                loading = weights.begin(
                    config.model,
                    config.adapter,
                    param_dtype=config.device.param_dtype,
                    compute_dtype=config.device.compute_dtype,
                    seed=config.seed,
                    mesh=mesh,
                    beside=config.device.platform != "gpu",
                )
            self.by_width[width] = compile_step(graphdef, structure, objective.loss, mesh, *arguments)
            # Of the last width, and of all devices.
            taken = footprint(setting)
            self.flops = int(taken.work.model_flops) * mesh.size
            self.remat, self.planned_mib = remat, round(taken.parts.total / 2**20)
        give_back()
        assert loading is not None
        model = loading().model
        _, params, frozen = lora.split(model)
        self.held = Held(frozen)
        state = placed_state(structure, params, config.device.state_dtype, mesh)
        self.state = jax.block_until_ready(state)
        give_back()
        self.scalars = step_scalars(config.optim, config.adapter, {}, total_steps=1, seed=config.seed)
        self.n_trainable = parameter_count(params)
        self.n_params = parameter_count(lora.own_parameters(model))

    def __call__(self, batch: Any) -> float:
        """The loss of `batch` before the update, which is done."""
        compiled = self.by_width[batch.tokens_BT.shape[1]]
        self.state, metrics = compiled(self.state, batch, self.scalars, self.held)
        return float(metrics.loss)


def device_peak_mib() -> int | None:
    """The most memory of the first accelerator that was in use; a CPU does not say."""
    import jax

    figures = jax.devices()[0].memory_stats()
    return None if figures is None else round(figures["peak_bytes_in_use"] / 2**20)


def every_token(tokens_BT: Any) -> Any:
    """Rows without padding whose every token counts."""
    import numpy as np

    from tunix_exp.objectives.sft.batch import BatchArrays

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
