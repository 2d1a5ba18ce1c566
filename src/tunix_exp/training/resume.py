"""`training.resume`: the run to go on from, found or named, and refused when its config differs.

A resumed run has a directory of its own, which names its parent; the parent's evidence is not touched.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunix_exp.errors import UserError
from tunix_exp.evidence.layout import MANIFEST
from tunix_exp.evidence.manifest import RunManifest, parse_manifest

# How far a run got, not what it computes.
_MAY_DIFFER = frozenset(
    {"training.resume", "training.stop_at_step", "training.export", "training.export_dtype"}
)


@dataclass(frozen=True, slots=True)
class Parent:
    """A run with a checkpoint, the step of its newest one, and the hash of the weights it began with."""

    folder: Path
    run_id: str
    step: int
    base_weight_hash: str | None


def find(resume: str, plain: Mapping[str, Any], directory: Path) -> Parent | None:
    """The run that `training.resume` means, or `None` to begin at step 0.

    `auto` takes the newest unfinished run beside `directory` that has the same config and a checkpoint.
    """
    if resume == "never":
        return None
    if resume == "auto":
        for folder in sorted(directory.resolve().parent.iterdir(), reverse=True):
            if folder != directory.resolve() and (folder / MANIFEST).is_file():
                parent = _unfinished(folder, plain)
                if parent is not None:
                    return parent
        return None
    folder = Path(resume).expanduser()
    if not (folder / MANIFEST).is_file():
        raise UserError(
            f"{folder} holds no run",
            where="training.resume",
            remedy="give never, auto, or the directory of a run (with run_manifest.json in it)",
        )
    changed = differences(_config(folder), plain)
    if changed:
        raise UserError(
            "the config differs from that of the run to resume:\n"
            + "\n".join(f"  {line}" for line in changed),
            where="training.resume",
            remedy="resume with the same config, or begin a new run with training.resume=never",
        )
    step = newest_step(folder)
    if step is None:
        raise UserError(
            f"{folder} has no checkpoint to resume from",
            where="training.resume",
            remedy="begin a new run; training.save_every_steps sets how often checkpoints are made",
        )
    return _parent(folder, _manifest(folder), step)


def check_frozen(parent: Parent, weight_hash: str) -> None:
    """The frozen weights are those beside which the parent's adapter was trained: a checkpoint lacks them."""
    if parent.base_weight_hash != weight_hash:
        raise UserError(
            f"the frozen weights (hash {weight_hash}) are not those of the run to resume"
            f" (hash {parent.base_weight_hash})",
            where="model.weights",
            remedy="name the weights of that run, or begin a new one with training.resume=never",
        )


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """`key: old → new` for every leaf that differs and may not."""
    lines: list[str] = []
    for key in [*old, *(k for k in new if k not in old)]:
        path = f"{prefix}{key}"
        before, after = old.get(key, _ABSENT), new.get(key, _ABSENT)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, f"{path}.")
        elif path not in _MAY_DIFFER and before != after:
            lines.append(f"{path}: {before} → {after}")
    return lines


def newest_step(folder: Path) -> int | None:
    """The step of the newest complete checkpoint of the run in `folder`."""
    steps = [int(p.name) for p in (folder / "checkpoints").glob("*") if p.name.isdigit()]
    return max(steps, default=None)


class _Absent:
    def __repr__(self) -> str:
        return "(absent)"


_ABSENT = _Absent()


def _unfinished(folder: Path, plain: Mapping[str, Any]) -> Parent | None:
    try:
        manifest = _manifest(folder)
        step = newest_step(folder)
        if manifest.status == "completed" or step is None or differences(_config(folder), plain):
            return None
    except (UserError, OSError, json.JSONDecodeError):
        return None  # not a run that can be read; `auto` looks on, naming it would say why
    return _parent(folder, manifest, step)


def _parent(folder: Path, manifest: RunManifest, step: int) -> Parent:
    return Parent(folder, manifest.run_id, step, manifest.model.base_weight_hash if manifest.model else None)


def _manifest(folder: Path) -> RunManifest:
    return parse_manifest((folder / MANIFEST).read_text(encoding="utf-8"))


def _config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))
