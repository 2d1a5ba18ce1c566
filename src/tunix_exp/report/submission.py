"""The page of a submission, from the run directory alone: what was trained and reached, how to check it."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tunix_exp.errors import UserError
from tunix_exp.evidence import layout
from tunix_exp.evidence.kinds import data_card, eval_summary, metrics, predictions, source
from tunix_exp.evidence.strict_json import read_json_object, read_jsonl
from tunix_exp.report.markdown import named, verbatim
from tunix_exp.report.result import sentences

_OUTSIDE = "not recorded (the environment of the run did not say)"


def submission_readme(run: Path) -> str:
    """The Markdown page of the completed run `run`; a run without a trained score is no submission."""
    manifest = read_json_object(run / layout.MANIFEST, file=layout.MANIFEST)
    if manifest["status"] != "completed" or manifest["headline"] is None or manifest["mode"] == "eval":
        raise UserError(
            f"a submission needs a completed run with a trained model's score; this one is "
            f"{manifest['status']}, of mode {manifest['mode']}",
            where=str(run),
            remedy="pack it without --kaggle, or submit another run",
        )
    if manifest["eval"]["kind"] != "items":
        raise UserError(
            "a submission needs the scores of held-out items; this run was asked the harness's tasks",
            where=str(run),
            remedy="pack it without --kaggle, or submit a run with another eval option",
        )
    config = read_json_object(run / layout.CONFIG, file=layout.CONFIG)
    summary = read_json_object(run / eval_summary.KIND.path, file=eval_summary.KIND.path)
    card = read_json_object(run / data_card.KIND.path, file=data_card.KIND.path)
    losses = read_jsonl(run / metrics.KIND.path, file=metrics.KIND.path)
    parts = [
        f"# {named(manifest['name'])}",
        f"**{sentences(summary)[0]}**",
        _section("Kaggle", manifest["kaggle"].items()),
        _section("What was run", _run_facts(manifest)),
        _section("Training", _training_facts(manifest, config, card, losses)),
        _section("Evaluation", _evaluation_facts(manifest, summary)),
        _section("Machine", _machine_facts(manifest)),
        _how_to_check(manifest),
    ]
    return "\n\n".join(parts) + "\n"


def _run_facts(manifest: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    model, code = manifest["model"], manifest["code"]
    yield "run_id", named(manifest["run_id"])
    yield "started_at, finished_at", f"{manifest['started_at']}, {manifest['finished_at']}"
    yield "command", verbatim(shlex.join(manifest["command"]))
    yield "commit_sha", "outside a git checkout" if code["git_commit"] is None else code["git_commit"]
    if code["git_dirty"]:
        yield "patch on that commit", f"`run/{source.PATCH.path}`, sha256 {code['git_diff_sha256']}"
    revision = "" if model["revision"] is None else f" at {model['revision']}"
    yield (
        "model_id",
        f"{named(model['name'])}, {verbatim(model['weights'])}{revision}, "
        f"{model['parameter_count']:,} parameters",
    )
    yield "trained weights", f"hash {model['trained_weight_hash']}"
    yield "dataset", _source(manifest["data"], "rows")


def _training_facts(
    manifest: dict[str, Any], config: dict[str, Any], card: dict[str, Any], losses: list[dict[str, Any]]
) -> Iterable[tuple[str, Any]]:
    optim, training, device = config["optim"], config["training"], config["device"]
    yield "steps", manifest["steps_done"]
    yield "batch_size", f"{training['batch_size']}, in {optim['accumulation_steps']} parts"
    asked = config["data"]["max_tokens"]
    yield "max_tokens", card["limits"]["row_tokens"] if asked is None else asked
    yield "optimizer", f"{optim['name']}, {optim['schedule']}, peak rate {optim['peak_lr']}"
    yield "parameters held in, computed in", f"{device['param_dtype']}, {device['compute_dtype']}"
    yield "seed", manifest["seed"]
    if manifest["resumed_from"] is not None:
        parent = manifest["resumed_from"]
        yield "resumed from", f"{parent['run_id']}, at step {parent['step']}"
    if losses:
        yield "loss, first and last step", f"{losses[0]['loss']:.4f}, {losses[-1]['loss']:.4f}"
    yield "config", f"`run/{layout.CONFIG}`, hash {manifest['config_hash']}"


def _evaluation_facts(manifest: dict[str, Any], summary: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    yield "eval_set", _source(manifest["eval"], "items")
    for which in ("base", "trained"):
        card = summary[which]["scorecard"]
        counts = ", ".join(f"{key} {card[key]}" for key in ("n_items", "n_scored", "n_skipped"))
        yield f"primary_score, {which}", f"{summary[which]['primary_score']} ({counts})"
    trained = summary["trained"]["scorecard"]
    for group in ("section", "category", "difficulty"):
        scores = [
            f"{named(name)} {part['primary_score']:.3f}" for name, part in trained[f"per_{group}"].items()
        ]
        if scores:
            yield f"trained, per {group}", ", ".join(scores)
    yield "every answer", f"`run/{predictions.BASE.path}`, `run/{predictions.TRAINED.path}`"


def _machine_facts(manifest: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    yield "accelerator", ", ".join(dict.fromkeys(manifest["devices"]))
    yield "processor", f"{manifest['machine']['processor']}, {manifest['machine']['threads']} threads"
    yield "peak memory", f"{manifest['peak_memory_bytes'] / 2**30:.2f} GiB"
    speed = manifest["tokens_per_s"]
    yield "throughput", "no step was taken in this run" if speed is None else f"{speed:,.0f} tokens/s"
    yield "time", f"{sum(manifest['times_s'].values()):.0f} s"
    yield "python, jax", f"{manifest['versions']['python']}, {manifest['versions']['jax']}"


def _how_to_check(manifest: dict[str, Any]) -> str:
    code = manifest["code"]
    lines = [] if code["git_commit"] is None else [f"git checkout {code['git_commit']}"]
    if code["git_dirty"]:
        lines.append(f"git apply --allow-empty FOLDER/run/{source.PATCH.path}")
    lines += ["uv sync --locked", "python -m tunix_exp verify FOLDER", "python -m tunix_exp replay FOLDER"]
    return (
        "## How to check it\n\nIn a clone of the project, FOLDER being that of this page:\n\n```sh\n"
        + "\n".join(lines)
        + "\n```\n\n`verify` hashes every file and scores every answer again; `replay` trains again and "
        "compares every number. `PACK.json` has the hash of every file here."
    )


def _source(section: dict[str, Any], unit: str) -> str:
    said = f"{named(section['name'])}, {verbatim(section['source'])}, {section['rows']:,} {unit}"
    return f"{said}, sha256 {section['sha256']}"


def _section(title: str, facts: Iterable[tuple[str, Any]]) -> str:
    lines = [f"- {name}: {_OUTSIDE if value is None else value}" for name, value in facts]
    return "\n".join([f"## {title}", "", *lines])
