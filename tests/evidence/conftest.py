"""A small, consistent run directory, written the way a run writes it."""

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tunix_exp.evidence.board import sample_table
from tunix_exp.evidence.layout import file_hashes
from tunix_exp.evidence.manifest import (
    Code,
    Compiles,
    Data,
    ItemsEval,
    Kaggle,
    Machine,
    Mode,
    Model,
    NoEval,
    RunManifest,
    config_hash,
)
from tunix_exp.evidence.metrics import heldout_steps, logged_steps
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.evidence.summary import eval_summary, headline
from tunix_exp.scoring.paired import Evaluation, ItemLoss
from tunix_exp.scoring.scorecard import Prediction, score

MACHINE = Machine(system="Linux", architecture="x86_64", processor="A", cpu_flags="avx2", threads=2)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)


def plain_config(mode: Mode = "full", eval_kind: str = "items") -> dict[str, Any]:
    items = {"kind": "items", "name": "toy-eval", "source": "bundled:toy-eval", "heldout_every_steps": 8}
    items |= {"resamples": 1000}
    return {
        "name": "toy",
        "seed": 3,
        "model": {"name": "toy-gpt2", "family": "gpt2", "weights": "random"},
        "data": {"name": "toy-data", "source": "bundled:toy-data"},
        "optim": {"peak_lr": 1e-3, "clip_norm": None},
        "training": {"name": "default", "steps": 20, "log_every_steps": 5},
        "eval": items if eval_kind == "items" else {"kind": "none", "name": "none"},
        "mode": {"name": mode},
    }


def opening(config: dict[str, Any]) -> RunManifest:
    return RunManifest.opening(
        run_id="toy-1",
        name=config["name"],
        mode=config["mode"]["name"],
        command=("python", "-m", "tunix_exp"),
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


def item_losses(nats: float, *, of: int = 6) -> list[ItemLoss]:
    return [ItemLoss(f"item-{item}", nats * (3 + item), 3 + item) for item in range(of)]


def claim(root: Path, *, mode: Mode = "full", eval_kind: str = "items") -> RunDirectory:
    config = plain_config(mode, eval_kind)
    hydra = root / ".hydra"
    hydra.mkdir(parents=True)
    for name in ("config.yaml", "overrides.yaml", "hydra.yaml"):
        (hydra / name).write_text("[]\n", encoding="utf-8")
    run = RunDirectory.claim(root, opening(config), console=Console(file=io.StringIO()))
    run.write_json("config.json", config)
    run.log.say("Toy run")
    for name in ("env_info.txt", "device_check.txt", "README.md"):
        run.write_text(name, f"{name}: something\n")
    run.write_json("plan.json", {"parameters": 10})
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
        versions={"python": "3.11"},
        environment={},
        times_s={"prepare": 0.5},
        compiles=Compiles(count=0, seconds=0.0),
    )
    return run


def fill(run: RunDirectory, *, steps: int = 20, base: int = 1, trained: int = 5) -> None:
    """Everything but the end of a run of the claimed mode."""
    mode, evaluates = run.manifest.mode, plain_config_of(run)["eval"]["kind"] == "items"
    if mode == "preflight":
        return
    digest = "a" * 64
    run.write_json(
        "data_card.json",
        {
            "train": {"name": "toy-data", "sha256": digest},
            "eval": {"name": "toy-eval", "sha256": digest, "rows_read": 6} if evaluates else None,
            "statistics": {"rows_kept": 12},
        },
    )
    run.write_text("example.txt", "What is 1? [1]\n")
    run.board.hyperparameters(plain_config_of(run), started_at_s=0.0)
    run.update(
        data=Data(name="toy-data", source="bundled:toy-data", rows=12, sha256=digest),
        eval=ItemsEval(kind="items", name="toy-eval", source="bundled:toy-eval", rows=6, sha256=digest)
        if evaluates
        else NoEval(kind="none"),
        model={"base_weight_hash": digest, "tokenizer_digest": digest},
        peak_memory_bytes=1000,
    )
    trains = mode in ("full", "smoke")
    if trains:
        _train(run, steps, evaluates)
    if evaluates:
        _evaluate(run, answers(right=base), answers(right=trained) if trains else None, steps)


def plain_config_of(run: RunDirectory) -> dict[str, Any]:
    return json.loads((run.root / "config.json").read_text(encoding="utf-8"))


def _train(run: RunDirectory, steps: int, evaluates: bool) -> None:
    for step in logged_steps(after=0, last=steps, every=5):
        figures = {"loss": 3.0 * math.exp(-step / 7), "lr": 1e-3, "grad_norm": 0.5, "tokens": 64}
        figures |= {"tokens_per_s": 1234.5, "time_s": 0.1 * step}
        run.append_jsonl("metrics.jsonl", {"step": step, **figures})
        run.board.scalars(step, figures)
    for step in heldout_steps(after=0, last=steps, every=8) if evaluates else []:
        run.append_jsonl("heldout.jsonl", {"step": step, "loss_nats": 1.0 / step})
        run.board.scalars(step, {"heldout/loss_nats": 1.0 / step})
    run.path("checkpoints/20/params").write_bytes(bytes(32))
    run.path("curves.png").write_bytes(PNG)
    run.update(steps_done=steps, tokens_per_s=1234.5, model={"trained_weight_hash": "b" * 64})


def _evaluate(
    run: RunDirectory, base: list[Prediction], trained: list[Prediction] | None, steps: int
) -> None:
    run.write_jsonl("predictions/base.jsonl", [one.to_dict() for one in base])
    if trained is not None:
        run.write_jsonl("predictions/trained.jsonl", [one.to_dict() for one in trained])
    before = Evaluation(base, item_losses(3.5))
    after = None if trained is None else Evaluation(trained, item_losses(0.5))
    for name, one in (("base", before), ("trained", after)):
        if one is not None:
            run.write_jsonl(f"heldout/{name}.jsonl", [loss.to_dict() for loss in one.losses])
    summary = eval_summary(before, after, resamples=1000, seed=3)
    run.write_json("eval_summary.json", summary)
    run.board.text("predictions", sample_table(base, trained, rows=3), step=steps)
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


@pytest.fixture
def rehash() -> Callable[[Path], None]:
    """Make the manifest's hashes those of the files, as somebody would who alters a run with care."""

    def write(root: Path) -> None:
        file = root / "run_manifest.json"
        manifest = json.loads(file.read_text(encoding="utf-8"))
        manifest["files"] = file_hashes(root)
        file.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")

    return write
