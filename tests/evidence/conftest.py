"""A small, consistent run directory, written the way a run writes it."""

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from tunix_exp.evidence.kinds import eval_summary as summaries
from tunix_exp.evidence.kinds import heldout, item_losses, metrics, predictions
from tunix_exp.evidence.kinds.rates import UNSEEN, pace
from tunix_exp.evidence.kinds.steps import every_nth, logged_steps
from tunix_exp.evidence.manifest import RunManifest, config_hash
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.evidence.sections import Code, Compiles, Data, ItemsEval, Kaggle, Machine, Mode, Model, NoEval
from tunix_exp.evidence.summary import eval_summary, headline
from tunix_exp.scoring.form import Form
from tunix_exp.scoring.paired import Evaluation, ItemLoss
from tunix_exp.scoring.scorecard import Prediction, score

MACHINE = Machine(system="Linux", architecture="x86_64", processor="A", cpu_flags="avx2", threads=2)


ENVIRONMENT = "python    CPython 3.11\nprocessor A, 2 threads\n  JAX_PLATFORMS=cpu\n  tunix_exp==0.1.0\n"

DATA = {
    "fields": {"id": "id", "answer": "answer"},
    "template": {
        "prompt": "{question}",
        "response": "{reasoning} [{answer}]",
        "response_without_reasoning": "[{answer}]",
    },
    "max_tokens": 48,
    "too_long": "error",
    "learn": "response",
    "allow_eval_overlap": False,
}


def plain_config(mode: Mode = "full", eval_kind: str = "items", resamples: int = 1000) -> dict[str, Any]:
    items = {"kind": "items", "name": "toy-eval", "source": "bundled:toy-eval", "heldout_every_steps": 8}
    items |= {"stop": None, "resamples": resamples, "baseline": None, "baseline_tolerance_points": None}
    return {
        "name": "toy",
        "seed": 3,
        "model": {"name": "toy-gpt2", "family": "gpt2", "weights": "random", "tokenizer": "bundled:bytes"},
        "adapter": {"name": "none"},
        "data": {"name": "toy-data", "source": "bundled:toy-data", **DATA},
        "optim": {"peak_lr": 1e-3, "clip_norm": None},
        "training": {"name": "default", "steps": 20, "log_every_steps": 5, "export": []},
        "eval": items if eval_kind == "items" else {"kind": "none", "name": "none"},
        "device": {"compute_dtype": "float32"},
        "mode": {"name": mode},
    }


def opening(config: dict[str, Any]) -> RunManifest:
    return RunManifest.opening(
        run_id="toy-1",
        name=config["name"],
        mode=config["mode"]["name"],
        command=("python", "-m", "tunix_exp", "seed=3"),
        config_hash=config_hash(config),
        code=Code(version="0.1.0", git_commit=None, git_dirty=None, git_diff_sha256=None, lock_sha256=None),
        machine=MACHINE,
        seed=config["seed"],
        kaggle=Kaggle(kaggle_notebook_url=None, kaggle_notebook_version=None, kaggle_run_id=None),
        replay_of=None,
    )


def answers(*, right: int, of: int = 6) -> list[Prediction]:
    found = []
    for item in range(of):
        output = f"Steps.\nAnswer: {item if item < right else item + 100}"
        extracted, correct = score(output, str(item))
        found.append(
            Prediction(
                id=f"item-{item}",
                prompt=f"What is {item}?",
                expected_answer=str(item),
                output=output,
                extracted_answer=extracted,
                correct=correct,
                section="core",
                category="even" if item % 2 == 0 else "odd",
                difficulty=None,
                tokens=5,
                stop_reason="eos",
            )
        )
    return found


def item_losses_of(nats: float, *, of: int = 6) -> list[ItemLoss]:
    return [ItemLoss(f"item-{item}", nats * (3 + item), 3 + item) for item in range(of)]


def claim(
    root: Path, *, mode: Mode = "full", eval_kind: str = "items", resamples: int = 1000
) -> RunDirectory:
    config = plain_config(mode, eval_kind, resamples)
    hydra = root / ".hydra"
    hydra.mkdir(parents=True)
    (hydra / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    (hydra / "overrides.yaml").write_text("- seed=3\n", encoding="utf-8")
    said = {"hydra": {"overrides": {"hydra": [], "task": ["seed=3"]}, "mode": "RUN"}}
    (hydra / "hydra.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")
    (hydra / "defaults.json").write_text("{}\n", encoding="utf-8")
    run = RunDirectory.claim(root, opening(config), console=Console(file=io.StringIO()))
    run.write_json("config.json", config)
    run.log.say("Toy run")
    run.write_text("env_info.txt", ENVIRONMENT)
    run.write_text("device_check.txt", "platform cpu\n  cpu:0\n")
    run.write_text("README.md", "# toy\n")
    run.write_text("report.html", "<!doctype html>\n")
    run.write_json(
        "plan.json", {"device_memory_bytes": None, "work": {"model_flops": 600.0, "peak_flops_per_s": None}}
    )
    model = Model(
        name="toy-gpt2",
        family="gpt2",
        weights="random",
        revision=None,
        parameter_count=10,
        base_weight_hash=None,
        trained_weight_hash=None,
        tokenizer_digest=None,
        files={},
    )
    run.update(
        model=model,
        devices=["cpu:0"],
        platform="cpu",
        versions={"python": "3.11", "tunix-exp": "0.1.0"},
        environment={"JAX_PLATFORMS": "cpu"},
        times_s={"prepare": 0.5},
        compiles=Compiles(count=0, seconds=0.0),
    )
    return run


def fill(run: RunDirectory, *, steps: int = 20, base: int = 1, trained: int = 5, of: int = 6) -> None:
    """Everything but the end of a run of the claimed mode."""
    mode, evaluates = run.manifest.mode, plain_config_of(run)["eval"]["kind"] == "items"
    if mode == "preflight":
        return
    digest = "a" * 64
    run.write_json(
        "data_card.json",
        {
            "train": {
                "name": "toy-data",
                "source": "bundled:toy-data",
                "sha256": digest,
                "fields": {"question": "prompt", "answer": "answer"},
            },
            "eval": {"name": "toy-eval", "source": "bundled:toy-eval", "sha256": digest, "rows_read": of}
            if evaluates
            else None,
            "statistics": {"rows_kept": 12},
            "fields": DATA["fields"],
            "template": DATA["template"],
            "limits": {"max_tokens": 48, "too_long": "error"},
            "learn": "response",
            "overlap": {"allowed": False},
            "tokenizer": {"reference": "bundled:bytes", "digest": digest},
        },
    )
    run.write_text("example.txt", "What is 1? [1]\n")
    run.board.hyperparameters(plain_config_of(run), started_at_s=0.0)
    run.update(
        data=Data(name="toy-data", source="bundled:toy-data", rows=12, sha256=digest),
        eval=ItemsEval(
            kind="items", name="toy-eval", source="bundled:toy-eval", rows=of, sha256=digest, stop=()
        )
        if evaluates
        else NoEval(kind="none"),
        model={"base_weight_hash": digest, "tokenizer_digest": digest},
        peak_memory_bytes=1000,
        peak_memory_of="process",
    )
    trains = mode in ("full", "smoke")
    if trains:
        _train(run, steps, evaluates)
    if evaluates:
        before, after = answers(right=base, of=of), answers(right=trained, of=of)
        _evaluate(run, before, after if trains else None, steps)
    if trains:
        run.path("curves.png").write_bytes(b"a picture")


def plain_config_of(run: RunDirectory) -> dict[str, Any]:
    return json.loads((run.root / "config.json").read_text(encoding="utf-8"))


def _train(run: RunDirectory, steps: int, evaluates: bool) -> None:
    before = UNSEEN
    for step in logged_steps(after=0, last=steps, every=5):
        figures = {"loss": 3.0 * math.exp(-step / 7), "lr": 1e-3, "grad_norm": 0.5}
        figures |= {"tokens": 64, "padded_tokens": 80, "response_tokens": 32}
        counters = {"tokens_seen": 64 * step, "padded_tokens_seen": 80 * step, "train_s": 0.1 * step}
        figures |= counters | pace({"step": step, **counters}, before)
        figures |= {"time_s": 0.2 * step, "model_flops_per_s": 5000.0, "process_peak_bytes": 900}
        before = {"step": step, **counters}
        run.append(metrics.KIND, {"step": step, **figures})
    for step in every_nth(after=0, last=steps, every=8) if evaluates else []:
        run.append(heldout.KIND, {"step": step, "loss_nats": 1.0 / step})
    run.path("checkpoints/20/params").write_bytes(bytes(32))
    whole = pace(before, UNSEEN)
    run.update(
        steps_done=steps,
        tokens_per_s=whole.pop("tokens_per_s"),
        throughput=whole | {"model_flops_per_s": 5000.0},
        model={"trained_weight_hash": "b" * 64},
    )


def _evaluate(
    run: RunDirectory, base: list[Prediction], trained: list[Prediction] | None, steps: int
) -> None:
    run.write(predictions.BASE, base)
    before = Evaluation(base, item_losses_of(3.5, of=len(base)))
    run.write(item_losses.BASE, before.losses)
    after = None
    if trained is not None:
        after = Evaluation(trained, item_losses_of(0.5, of=len(base)))
        run.write(predictions.TRAINED, trained)
        run.write(item_losses.TRAINED, after.losses)
    resamples = plain_config_of(run)["eval"]["resamples"]
    form = Form(DATA["template"]["response"], DATA["template"]["response_without_reasoning"])
    summary = eval_summary(before, after, resamples=resamples, seed=3, form=form)
    run.write(summaries.KIND, summary)
    run.board.text("predictions", "| item |\n", step=steps)
    run.board.finish(headline(summary), step=steps)
    run.update(headline=headline(summary))


@pytest.fixture
def claim_run() -> Callable[..., RunDirectory]:
    return claim


@pytest.fixture
def fill_run() -> Callable[..., None]:
    return fill


@pytest.fixture
def opening_manifest() -> RunManifest:
    return opening(plain_config())


@pytest.fixture(scope="session")
def completed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A completed run of mode full; copy it before altering it."""
    root = tmp_path_factory.mktemp("runs") / "toy"
    run = claim(root)
    fill(run)
    run.complete()
    return root
