"""Every leaf key of every option has an effect that can be seen: in numbers, in files, in a refusal.

A key that nothing reads is how a config begins to lie.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.composing import GROUPS, composed, options
from tests.data.chat_templates import GEMMA
from tests.data.toys import TURNS, saved_tokenizer
from tests.evaluation.harness.toys import write_tasks
from tests.models.lora_toys import logits_of
from tests.objectives.registering import registered
from tests.running import TOY, read_json, read_jsonl, run
from tunix_exp.config import RunConfig, leaves, validate
from tunix_exp.data.tokenizer import END_OF_TEXT
from tunix_exp.device import check, environment, hosts
from tunix_exp.errors import UserError
from tunix_exp.models import weights
from tunix_exp.training import optim

MARKED = Path(__file__).parent / "data" / "marked.jsonl"
NO_LABELS = ("data.fields.category=null", "data.fields.difficulty=null")
NO_EVAL_LABELS = (
    "eval.fields.question=question", "eval.fields.answer=answer",
    "eval.fields.section=null", "eval.fields.category=null", "eval.fields.difficulty=null",
)  # fmt: skip
UNNAMED = tuple(f"data.fields.{part}=null" for part in ("question", "reasoning", "answer"))
UNNAMED_ITEMS = tuple(f"eval.fields.{part}=null" for part in ("question", "reasoning", "answer"))
HELD_OUT = (
    "data.source=bundled:nano-eval", "data.fields.question=prompt", "data.fields.answer=expected_answer",
)  # fmt: skip
# A tokenizer that knows the turns of a chat, and room for them.
CHAT_TOKENIZER = "model.tokenizer=<chat tokenizer>"
CHAT = (CHAT_TOKENIZER, "model.vocab_size=260", "model.num_positions=96", "data.max_tokens=96")

# A run of the toy experiment, to be measured against.
BASELINE = "eval.baseline=<toy run>"

# One local layer and one global, and weights large enough for attention to matter.
TWO_LAYERS = ("model=tiny-gemma2", "model.num_layers=2", "model.init_std=0.5")

# Positions that turn far enough within a short text.
ROTATING = (
    "model=tiny-llama",
    "model.num_layers=2",
    "model.init_std=0.5",
    "model.rope_original_positions=24",
)

# A recurrent block and one of attention, with weights large enough for what they gather to matter.
RECURRENT = (
    "model=tiny-recurrentgemma",
    "model.block_types=[recurrent,attention]",
    "model.num_layers=2",
    "model.init_std=0.5",
)

LORA = ("adapter=lora",)

# The harness with task files of one's own, asked of the base model alone.
TASKS = "eval.include_path=<tasks>"
HARNESS = ("eval=harness", TASKS, "eval.tasks=[toy_choice]", "mode=eval")

CHATTING = (*CHAT, "data.template.chat=gemma", *HARNESS)

# A TPU that is not here: a preflight compiles for it, or would.
TPU = ("device=tpu", "device.topology_when_absent=null", "mode=preflight")
# Two processes, of which the test is none.
TWO_PROCESSES = tuple(
    f"device.distributed.{word}" for word in ("coordinator=127.0.0.1:1", "processes=2", "process=0")
)
# Two sets with weights of 3 and another number.
MIX = (
    "{one:{source:'bundled:nano-reasoning',weight:3,only:{category:[addition]}},"
    "two:{source:'bundled:nano-reasoning',weight:%d,only:{category:[reversal]}}}"
)

# Two stages, each long enough that a schedule of its own shows.
STAGES = (
    "data.source=null",
    "data.mix={one:{source:'bundled:nano-reasoning',steps:2},two:{source:'bundled:nano-reasoning',steps:2}}",
)

# key: (other value, what else it takes for the key to matter)
CHANGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "name": ("other", ()),
    "seed": ("5", ()),
    "adapter.name": ("none", ("adapter.name=lora",)),
    "adapter.weights": ("./nowhere", LORA),
    "adapter.rank": ("4", LORA),
    "adapter.alpha": ("32.0", LORA),
    "adapter.scaling": ("rslora", LORA),
    "adapter.dropout": ("0.5", LORA),
    "adapter.targets": ("[mlp]", LORA),
    "adapter.merge_for_eval": ("true", LORA),
    "data.name": ("other", ()),
    "data.source": ("bundled:golden-v2", ("data.fields.question=prompt", "data.fields.answer=final_answer")),
    "data.mix": (MIX % 2, ("data.source=null", f"data.mix={MIX % 1}")),
    "data.format": ("alpaca", UNNAMED),
    "data.fields.id": ("question", ()),
    "data.fields.input": ("category", ()),
    "data.fields.messages": ("steps", UNNAMED),
    "data.fields.text": ("question", UNNAMED),
    "data.only": ("{category:[addition]}", ()),
    "data.fields.question": ("id", ()),
    "data.fields.reasoning": ("null", ()),
    "data.fields.answer": ("category", ()),
    "data.fields.answer_marker": ("'='", ("data.fields.reasoning=null", "data.fields.answer=answer")),
    "data.fields.strip_calculator_marks": ("true", (f"data.source={MARKED}", *NO_LABELS)),
    "data.fields.section": ("id", ()),
    "data.fields.category": ("absent", ()),
    "data.fields.difficulty": ("absent", ()),
    "data.template.chat": ("gemma", CHAT),
    "data.template.system": ("'Be brief.'", (*CHAT, "data.template.chat=gemma")),
    "data.template.date": ("2025-01-31", (*CHAT, "data.template.chat=tokenizer")),
    "data.template.prompt": ("'{question}?'", ()),
    "data.template.response": ("'{reasoning} so {answer}'", ()),
    "data.template.response_without_reasoning": ("'So {answer}'", ("data.fields.reasoning=null",)),
    "data.template.step_separator": ("' '", ()),
    "data.learn": ("all_tokens", ()),
    "data.max_tokens": ("56", ()),
    "data.too_long": ("drop", ("data.max_tokens=40",)),
    "data.max_rows": ("50", ()),
    "data.allow_eval_overlap": ("true", HELD_OUT),
    # of the shipped ones there is one alone
    "objective.name": ("unlikelihood", ("+objective.avoid=repetition", "+objective.weight=0.5")),
    "optim.name": ("lion", ("~optim.eps",)),
    "optim.peak_lr": ("1e-4", ()),
    "optim.schedule": ("linear", ()),
    "optim.schedule_per": ("stage", STAGES),
    "optim.warmup_steps": ("3", ()),
    "optim.final_lr_ratio": ("0.9", ()),
    "optim.wsd_decay_fraction": ("0.9", ("optim.schedule=wsd",)),
    "optim.clip_norm": ("0.001", ()),
    "optim.weight_decay": ("0.9", ()),
    "optim.decay_mask": ("all", ("optim.weight_decay=0.9",)),
    "optim.accumulation_steps": ("2", ()),
    "optim.b1": ("0.5", ()),
    "optim.b2": ("0.5", ()),
    "optim.eps": ("1e-2", ()),
    "optim.decay_rate": ("0.3", ("optim=adafactor",)),
    "optim.min_dim_size_to_factor": ("4", ("optim=adafactor",)),
    "optim.clipping_threshold": ("0.01", ("optim=adafactor",)),
    "optim.momentum": ("0.1", ("optim=sgd",)),
    "optim.nesterov": ("false", ("optim=sgd",)),
    "optim.rounding": ("stochastic", ("device.param_dtype=bfloat16",)),
    "training.steps": ("3", ()),
    "training.epochs": ("0.2", ("training.steps=null",)),
    "training.batch_size": ("2", ()),
    "training.batching": ("packed", ()),
    "training.bucket_widths": ("1", ("training.batching=buckets", "training.bucket_widths=[40,48]")),
    "training.log_every_steps": ("2", ()),
    "training.save_every_steps": ("2", ()),
    "training.keep_checkpoints": ("1", ("training.save_every_steps=1",)),
    "training.resume": ("./nowhere", ()),
    "training.stop_at_step": ("2", ()),
    "training.export": ("[hf]", ()),
    "training.export_dtype": ("bfloat16", ("training.export=[hf]",)),
    "device.platform": ("tpu", ()),
    "device.topology": ("v5e:2x4", TPU),
    "device.topology_when_absent": ("v6e:2x4", TPU),
    "device.min_devices": ("99", ()),
    "device.mesh.data": ("7", ()),
    "device.mesh.fsdp": ("7", ()),
    "device.mesh.tensor": ("7", ()),
    "device.distributed.coordinator": ("auto", ()),
    "device.distributed.processes": ("3", TWO_PROCESSES),
    "device.distributed.process": ("1", TWO_PROCESSES),
    "device.distributed.timeout_s": ("5.0", TWO_PROCESSES),
    "device.param_dtype": ("bfloat16", ("optim.rounding=stochastic", "device.state_dtype=bfloat16")),
    "device.compute_dtype": ("bfloat16", ()),
    "device.state_dtype": ("bfloat16", ("optim.rounding=stochastic", "device.param_dtype=bfloat16")),
    "device.attention": ("cudnn", ()),
    "device.matmul_precision": ("highest", ()),
    "device.xla_flags": ("['--xla_cpu_enable_fast_math=true']", ()),
    "device.memory_gib": ("0.0001", ()),
    "device.memory_fraction": ("0.5", ("device=gpu",)),
    "device.guardrail": ("warn", ("device.memory_gib=0.0001",)),
    "device.compilation_cache": ("./cache", ()),
    "eval.kind": ("none", ("eval=none", "eval.kind=items")),
    "eval.name": ("other", ()),
    "eval.source": ("bundled:eval-v1", ("eval.fields.reasoning=null", "eval.fields.section=null")),
    "eval.share": ("0.3", ("eval=split", "eval.share=0.2")),
    "eval.format": ("alpaca", UNNAMED_ITEMS),
    "eval.fields.id": ("null", ()),
    "eval.fields.input": ("category", ()),
    "eval.fields.messages": ("steps", UNNAMED_ITEMS),
    "eval.fields.question": ("id", ()),
    "eval.fields.reasoning": ("null", ()),
    "eval.fields.answer": ("category", ()),
    "eval.fields.answer_marker": (
        "'='",
        ("eval.fields.reasoning=null", "eval.fields.answer=expected_answer"),
    ),
    "eval.fields.strip_calculator_marks": ("true", (f"eval.source={MARKED}", *NO_EVAL_LABELS)),
    "eval.fields.section": ("null", ()),
    "eval.fields.category": ("null", ()),
    "eval.fields.difficulty": ("null", ()),
    "eval.max_items": ("4", ()),
    "eval.batch_size": ("80", ()),
    "eval.stop": ("['Question:']", ()),
    "eval.max_new_tokens": ("9", ()),
    "eval.heldout_every_steps": ("2", ()),
    "eval.resamples": ("2000", ()),
    "eval.baseline": ("./nowhere", ("eval.baseline_tolerance_points=1.0",)),
    "eval.baseline_tolerance_points": ("2.0", (BASELINE, "eval.baseline_tolerance_points=1.0")),
    "eval.tasks": ("[toy_addition]", HARNESS),
    "eval.include_path": ("./nowhere", HARNESS),
    "eval.num_fewshot": ("1", HARNESS),
    "eval.fewshot_seed": ("7", (*HARNESS, "eval.num_fewshot=1")),
    "eval.apply_chat_template": ("true", CHATTING),
    "eval.fewshot_as_multiturn": (
        "true",
        (*CHATTING, "eval.apply_chat_template=true", "eval.num_fewshot=1"),
    ),
    "mode.name": ("preflight", ()),
    "model.family": ("gemma2", ("model=tiny-gemma",)),
    "model.name": ("other", ()),
    "model.weights": ("./nowhere", ()),
    "model.stored_dtype": ("bfloat16", LORA),
    "model.quantize": ("nf4", LORA),
    "model.tokenizer": ("./nowhere", ()),
    "model.vocab_size": ("300", ()),
    "model.num_positions": ("80", ()),
    "model.width": ("32", ()),
    "model.mlp_width": ("48", ()),
    "model.num_layers": ("2", ()),
    "model.num_heads": ("4", ()),
    "model.num_key_heads": ("1", ("model=tiny-gemma", "model.num_key_heads=2")),
    "model.head_width": ("16", ("model=tiny-gemma",)),
    "model.query_pre_attn_scalar": ("2.0", ("model=tiny-gemma", "model.init_std=0.5")),
    "model.rope_base": ("100.0", ("model=tiny-gemma", "model.init_std=0.5")),
    "model.global_every": ("3", TWO_LAYERS),
    "model.window": ("3", TWO_LAYERS),
    "model.rope_local_base": ("100.0", TWO_LAYERS),
    "model.rope_global_factor": ("8.0", TWO_LAYERS),
    "model.attention_soft_cap": ("0.1", TWO_LAYERS),
    "model.logit_soft_cap": ("0.1", TWO_LAYERS),
    "model.rope_factor": ("2.0", ROTATING),
    "model.rope_low_freq_factor": ("3.0", ROTATING),
    "model.rope_high_freq_factor": ("9.0", ROTATING),
    "model.rope_original_positions": ("900", ROTATING),
    "model.unrotated_every": ("2", ROTATING),
    "model.block_types": ("[attention,recurrent]", RECURRENT),
    "model.recurrence_width": ("32", RECURRENT),
    "model.convolution_taps": ("2", RECURRENT),
    "model.rotated_share": ("1.0", RECURRENT),
    "model.tied_embeddings": ("false", ()),
    "model.norm_epsilon": ("0.1", ()),
    "model.init_std": ("0.1", ()),
    "model.layer_loop": ("scan", ("model.num_layers=2",)),
    "model.remat": ("block", ("model.num_layers=2",)),
}


@pytest.fixture(scope="module", autouse=True)
def _a_second_objective():
    with registered("unlikelihood"):
        yield


def test_the_table_has_every_key_of_every_option():
    keys: set[str] = set()
    for group in GROUPS:
        for option in options(group):
            words = [f"{group}={option}"]
            plain = composed(*words)
            keys |= {key for key, _ in leaves({group: plain[group]})}
    keys |= {"name", "seed"}
    assert keys == CHANGES.keys()


def words_of(key: str, *, changed: bool, tokenizer="./t", toy_run="./r", tasks="./e") -> tuple[str, ...]:
    """The toy experiment in which the key matters, with its usual value or with the other."""
    value, companions = CHANGES[key]
    named = {
        CHAT_TOKENIZER: f"model.tokenizer={tokenizer}",
        BASELINE: f"eval.baseline={toy_run}",
        TASKS: f"eval.include_path={tasks}",
    }
    # the harness computes no held-out loss, and without an evaluation there are no sizes of it
    left_out = "eval.heldout" if HARNESS[0] in companions else "eval." if "eval=none" in companions else "?"
    toy = [word for word in TOY if not word.startswith(left_out)]
    base = tuple(named.get(word, word) for word in (*toy, *companions))
    return (*base, f"{key}={value}") if changed else base


@pytest.mark.parametrize("key", CHANGES)
def test_a_key_has_another_valid_value(key):
    # A refusal by the key's own type is no effect: what has one value only decides nothing.
    validate(composed(*words_of(key, changed=True)))


# What a key changes shows mostly before a whole run has ended: in the plan, the card or the example, which a
# preflight leaves, or in the answers of the base model.
SHORTER = {"adapter": "preflight", "data": "preflight", "device": "preflight"}
SHORTER |= {"eval": "eval", "model": "eval"}


def of_the_model(config: RunConfig) -> dict[str, Any]:
    """The logits of the model that the config loads."""
    dtypes = {"param_dtype": config.device.param_dtype, "compute_dtype": config.device.compute_dtype}
    try:
        model = weights.load(config.model, config.adapter, **dtypes, seed=config.seed).model
    except UserError as error:
        return {"model": str(error)}
    tokens_BT = jnp.asarray(np.random.default_rng(0).integers(32, 127, (1, 48)), jnp.int32)
    return {"logits": np.asarray(logits_of(model, tokens_BT)).tobytes()}


_UPDATE = jax.jit(optim.apply, static_argnums=0)


def of_the_optimizer(config: RunConfig) -> dict[str, Any]:
    """The rates, norms and parameters of the updates that the config makes of some gradients."""
    sets, steps = config.data.mix or {}, config.training.steps or 4
    stages = [part.steps for part in sets.values() if part.steps]
    structure, s = (
        optim.structure(config.optim),
        optim.scalars(config.optim, total_steps=steps, stages=stages),
    )
    params = {"kernel": jnp.ones((12, 8), config.device.param_dtype), "bias": jnp.ones(8)}
    state, seen = optim.init(structure, params, config.device.state_dtype), []
    for step in range(steps):
        grads = {
            name: np.cos(step + np.arange(p.size, dtype="f4")).reshape(p.shape) for name, p in params.items()
        }
        params, state, update = _UPDATE(structure, s, jnp.int32(step), grads, state, params)
        seen += [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves((params, update))]
    return {"updates": seen}


# What a key changes in numbers shows before any run, in what the run would compute with.
COMPUTED = {"model": of_the_model, "optim": of_the_optimizer}


def effects(folder: Path, words: tuple[str, ...], key: str, monkeypatch) -> Iterator[dict[str, Any]]:
    """What can be seen, the cheapest first: a refusal, a device, numbers, a shorter run, a whole one."""
    plain = composed(*words)
    try:
        config = validate(plain)
    except UserError as error:
        yield {"refused": str(error)}
        return
    preflight = config.mode.name == "preflight"
    wanted = environment.wanted(config.device, preflight=preflight)
    seen: dict[str, Any] = {"environment": wanted, "directory": f"outputs/{plain['name']}"}
    if config.device.distributed.is_wanted:
        seen["asked of the others"] = hosts.asked_of_jax(config.device.distributed)
    if config.device.platform == "tpu" and preflight:
        monkeypatch.setattr(check, "_compile_only", lambda: None)  # else it were so for all later tests
        try:
            seen["device"] = check.check(config.device, preflight=True).topology
        except UserError as error:
            seen["device"] = str(error)
    yield seen
    if wanted != {"JAX_PLATFORMS": "cpu"}:
        return  # another process would have to show more
    group = key.split(".")[0]
    if group in COMPUTED:
        yield COMPUTED[group](config)
    shorter = SHORTER.get(group)
    if shorter is not None and config.mode.name == "full":
        yield left_by(folder / "shorter", (*words, f"mode={shorter}"))
    yield left_by(folder / "whole", words)


def left_by(folder: Path, words: tuple[str, ...]) -> dict[str, Any]:
    """All that a stranger could see of a run, but for its own config, times and places."""
    seen: dict[str, Any] = {"status": run(folder, *words)}
    if not (folder / "run_manifest.json").exists():
        return seen
    manifest = read_json(folder / "run_manifest.json")
    for key in ("run_id", "command", "config_hash", "started_at", "finished_at", "times_s", "tokens_per_s"):
        del manifest[key]
    for key in ("elapsed_s", "findings", "throughput", "peak_memory_bytes", "files", "compiles", "code"):
        del manifest[key]
    seen["manifest"] = manifest
    seen["files"] = sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if "checkpoints/" not in str(p)
    )
    seen["checkpoints"] = sorted(p.name for p in (folder / "checkpoints").glob("*") if p.name.isdigit())
    for name in ("plan.json", "data_card.json", "eval_summary.json", "export/hf/config.json"):
        if (folder / name).exists():
            seen[name] = read_json(folder / name)
    texts = ("example.txt", "predictions/base.jsonl", "predictions/trained.jsonl", "device_check.txt")
    for name in (*texts, "harness/base.jsonl"):
        if (folder / name).exists():
            seen[name] = (folder / name).read_text()
    if (folder / "metrics.jsonl").exists():
        rows = read_jsonl(folder / "metrics.jsonl")
        seen["metrics"] = [(r["step"], r["loss"], r["lr"], r["grad_norm"]) for r in rows]
    return seen


class Seen:
    """What can be seen of one experiment, looked at no further than somebody asks."""

    def __init__(self, effects: Iterator[dict[str, Any]]) -> None:
        self._effects, self._seen = effects, []

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in itertools.count():
            if number == len(self._seen):
                self._seen += itertools.islice(self._effects, 1)
            if number == len(self._seen):
                return
            yield self._seen[number]


_BEFORE: dict[tuple[Any, ...], Seen] = {}


@pytest.fixture(scope="module")
def chat_tokenizer(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("chat") / "tokenizer"
    saved_tokenizer(folder, *TURNS, eos_token=END_OF_TEXT)
    (folder / "chat_template.jinja").write_text("{{ strftime_now('%Y') }}" + GEMMA, encoding="utf-8")
    return str(folder)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("tasks")
    write_tasks(folder, "toy_addition")
    return write_tasks(folder, "toy_choice", fewshot_split="test", num_fewshot=None)


@pytest.mark.slow
@pytest.mark.parametrize("key", CHANGES)
def test_a_changed_key_changes_what_can_be_seen(
    key, tmp_path, tmp_path_factory, chat_tokenizer, toy_run, tasks, monkeypatch
):  # fmt: skip
    places = {"tokenizer": chat_tokenizer, "toy_run": toy_run, "tasks": tasks}
    words = words_of(key, changed=False, **places)
    group = key.split(".")[0]
    base = (words, SHORTER.get(group), COMPUTED.get(group))
    if base not in _BEFORE:
        _BEFORE[base] = Seen(effects(tmp_path_factory.mktemp("before"), words, key, monkeypatch))
    changed = effects(tmp_path, words_of(key, changed=True, **places), key, monkeypatch)
    for after, before in zip(changed, _BEFORE[base], strict=False):
        assert "refused" not in after
        if after != before:
            return
    raise AssertionError(f"{key} changes nothing that can be seen")


@pytest.mark.parametrize("mode", ["preflight", "eval", "full"])
def test_what_can_be_seen_is_the_same_where_nothing_was_changed(mode, tmp_path):
    words = (*TOY, "training.export=[hf]", f"mode={mode}")
    assert left_by(tmp_path / "here", words) == left_by(tmp_path / "there", words)
