"""The files of a small finished training, as a run directory holds them."""

import json
from pathlib import Path
from typing import Any

from tunix_exp.evidence.summary import eval_summary
from tunix_exp.scoring.paired import Evaluation, ItemLoss
from tunix_exp.scoring.scorecard import Prediction

MANIFEST: dict[str, Any] = {
    "schema_version": 1,
    "run_id": "nano/2026-07-01_12-00-00-123456",
    "name": "nano",
    "status": "running",
    "mode": "full",
    "command": ["python", "-m", "tunix_exp", "data.template.prompt=Q: {question}"],
    "config_hash": "0" * 64,
    "code": {"version": "0.1.0", "git_commit": "a" * 40, "git_dirty": True, "git_diff_sha256": "b" * 64}
    | {"lock_sha256": "e" * 64},
    "machine": {
        "system": "Linux",
        "architecture": "x86_64",
        "processor": "A",
        "cpu_flags": "avx2",
        "threads": 2,
    },
    "started_at": "2026-07-01T12:00:00.123456Z",
    "finished_at": None,
    "elapsed_s": None,
    "seed": 7,
    "model": {
        "name": "nano-gpt2",
        "family": "gpt2",
        "weights": "random",
        "revision": None,
        "parameter_count": 612345,
        "base_weight_hash": None,
        "trained_weight_hash": None,
        "tokenizer_digest": None,
        "files": {},
    },
    "adapter": None,
    "data": {"name": "nano-reasoning", "source": "bundled:nano-reasoning", "rows": 5700, "sha256": "c" * 64},
    "eval": {
        "kind": "items",
        "name": "nano-eval",
        "source": "bundled:nano-eval",
        "rows": 4,
        "sha256": "d" * 64,
        "stop": [],
    },
    "devices": ["cpu:0"],
    "platform": "cpu",
    "versions": None,
    "environment": None,
    "times_s": None,
    "compiles": None,
    "peak_memory_bytes": 2**30,
    "peak_memory_of": "process",
    "tokens_per_s": 54321.0,
    "throughput": {"padded_tokens_per_s": 60000.0, "step_s": 0.25, "model_flops_per_s": 1e9, "mfu": 0.4321},
    "steps_done": 4,
    "resumed_from": None,
    "replay_of": None,
    "headline": None,
    "baseline": None,
    "verdict": None,
    "kaggle": {"kaggle_notebook_url": None, "kaggle_notebook_version": None, "kaggle_run_id": None},
    "console_lost": None,
    "findings": None,
    "error": None,
    "files": None,
}


def rows(losses: list[float]) -> list[dict[str, Any]]:
    """One logged step per loss, the first at step 1."""
    return [
        {
            "step": n,
            "loss": loss,
            "lr": 1e-3 / n,
            "grad_norm": loss / 2,
            "tokens": 100 * n,
            "tokens_per_s": 50.0,
        }
        | {"time_s": float(n)}
        for n, loss in enumerate(losses, start=1)
    ]


def summary(*, with_trained: bool = True) -> dict[str, Any]:
    """Twelve items: three right before, eleven after."""
    before, after = _evaluation("+++---------", 3.25), _evaluation("+++++++++++-", 0.5)
    return eval_summary(before, after if with_trained else None, resamples=1000, seed=0, form=None)


def _evaluation(correct: str, nats: float) -> Evaluation:
    predictions = [
        Prediction(
            id=f"i{place}", prompt="p", expected_answer="1", output="1", extracted_answer="1",
            correct=mark == "+", section="core", category="a|b" if place == 2 else "addition",
            difficulty=None, tokens=1, stop_reason="eos",
        )
        for place, mark in enumerate(correct)
    ]  # fmt: skip
    # not all alike: each item's share of the loss differs a little
    losses = [
        ItemLoss(f"i{place}", nats + (place % 3 - 1) / 8 * (nats < 1), 1) for place in range(len(correct))
    ]
    return Evaluation(predictions, losses)


def write_run(root: Path, *, losses: list[float], manifest: dict[str, Any] = MANIFEST) -> Path:
    """`root` holds a manifest, metrics, and a config that chooses no objective."""
    (root / "config.json").write_text("{}", encoding="utf-8")
    (root / "run_manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    lines = "".join(json.dumps(row) + "\n" for row in rows(losses))
    (root / "metrics.jsonl").write_text(lines, encoding="utf-8")
    return root


def write_summary(root: Path, *, with_trained: bool = True) -> None:
    """`root` holds an evaluation too."""
    (root / "eval_summary.json").write_text(json.dumps(summary(with_trained=with_trained)), encoding="utf-8")
