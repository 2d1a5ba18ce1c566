"""The files of a small finished training, as a run directory holds them."""

import json
from pathlib import Path
from typing import Any

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
    "data": {"name": "nano-reasoning", "source": "bundled:nano-reasoning", "rows": 5700, "sha256": "c" * 64},
    "eval": {
        "kind": "items",
        "name": "nano-eval",
        "source": "bundled:nano-eval",
        "rows": 4,
        "sha256": "d" * 64,
    },
    "devices": ["cpu:0"],
    "platform": "cpu",
    "versions": None,
    "environment": None,
    "times_s": None,
    "compiles": None,
    "peak_memory_bytes": 2**30,
    "tokens_per_s": 54321.0,
    "steps_done": 4,
    "resumed_from": None,
    "replay_of": None,
    "headline": None,
    "kaggle": {"kaggle_notebook_url": None, "kaggle_notebook_version": None, "kaggle_run_id": None},
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
    """Four items: one right before, three after."""
    return {
        "extractor": "v1",
        "base": _part(0.25, 3.25),
        "trained": _part(0.75, 0.5) if with_trained else None,
        "comparison": {"n_items": 4, "difference": 0.5, "flips_to_right": 2, "flips_to_wrong": 0}
        if with_trained
        else None,
    }


def _part(score: float, loss: float) -> dict[str, Any]:
    card = {
        "n_items": 4,
        "n_scored": 4,
        "n_skipped": 0,
        "primary_score": score,
        "stddev": 0.433,
        "per_section": {"core": {"n_items": 4, "primary_score": score}},
        "per_category": {
            "addition": {"n_items": 3, "primary_score": score},
            "a|b": {"n_items": 1, "primary_score": score},
        },
        "per_difficulty": {},
    }
    return {"primary_score": score, "scorecard": card, "heldout_loss_nats": loss}


def write_run(root: Path, *, losses: list[float], manifest: dict[str, Any] = MANIFEST) -> Path:
    """`root` holds a manifest and metrics."""
    (root / "run_manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    lines = "".join(json.dumps(row) + "\n" for row in rows(losses))
    (root / "metrics.jsonl").write_text(lines, encoding="utf-8")
    return root


def write_summary(root: Path, *, with_trained: bool = True) -> None:
    """`root` holds an evaluation too."""
    (root / "eval_summary.json").write_text(json.dumps(summary(with_trained=with_trained)), encoding="utf-8")
