"""`training.resume`: the run to go on from, found or named, and refused when it cannot be gone on from.

A resumed run has a directory of its own, which names its parent; the parent's evidence is not touched.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunix_exp.device.config import DistributedConfig
from tunix_exp.errors import UserError
from tunix_exp.evidence.kinds.folders import CHECKPOINTS, steps_saved
from tunix_exp.evidence.kinds.stages import KIND as STAGES
from tunix_exp.evidence.layout import CONFIG, MANIFEST
from tunix_exp.evidence.manifest import RunManifest, parse_manifest
from tunix_exp.evidence.strict_json import read_json_object, read_text
from tunix_exp.objectives import registry

# How far a run got and on how many hosts, not what it computes.
_MAY_DIFFER = frozenset(
    {"training.resume", "training.stop_at_step", "training.export", "training.export_dtype"}
    | {"device.distributed", *(f"device.distributed.{key}" for key in DistributedConfig.model_fields)}
)

# What the runs stand on beside the config: by the manifest's key, in words, and the key that names it.
_STOOD_ON = {
    "data.sha256": ("the training examples", "data.source"),
    "data.rows": ("the rows to train on", "data.source"),
    "eval.sha256": ("the held-out items", "eval.source"),
    "model.tokenizer_digest": ("the tokenizer's tokens", "model.tokenizer"),
    "model.base_weight_hash": ("the weights before training", "model.weights"),
    "adapter.files": ("the adapter's files", "adapter.weights"),
}


@dataclass(frozen=True, slots=True)
class Parent:
    """A run to go on from: its manifest, and the step of its newest checkpoint, 0 where it has none.

    `line` are the run that was named or found and those that it went on from, the newest first.
    """

    folder: Path
    manifest: RunManifest
    step: int
    line: tuple[Path, ...]

    @property
    def run_id(self) -> str:
        """The run's own name, wherever it lies."""
        return self.manifest.run_id

    @property
    def checkpoints(self) -> Path:
        """Where its checkpoints lie."""
        return self.folder / CHECKPOINTS.path

    def describe(self) -> str:
        """What is gone on from, in a line."""
        text = f"resumes {self.folder} at step {self.step}"
        return f"{text}, a completed run" if self.manifest.status == "completed" else text


def find(resume: str, plain: Mapping[str, Any], directory: Path) -> Parent | None:
    """The run that `training.resume` means, or `None` to begin at step 0.

    `auto` takes the newest unfinished run beside `directory` that has the same config and a checkpoint, and
    that no completed run has gone on from. A named run that has no checkpoint yet, but went on from another
    one beside it, means that one.
    """
    if resume == "never":
        return None
    own = directory.resolve()
    found = _unfinished(own, plain) if resume == "auto" else _named(resume, plain)
    stop = plain["training"]["stop_at_step"]
    if found is not None and stop is not None and stop <= found.step:
        raise UserError(
            f"the run to resume, {found.folder}, is at step {found.step} already",
            where="training.stop_at_step",
            remedy="name a later step, or null to run to the end",
        )
    return found


def check_same(parent: Parent, found: Mapping[str, object]) -> None:
    """What this run stands on, by the keys of the manifest, is what the parent stood on."""
    recorded = parent.manifest.model_dump(mode="json")
    for key, value in found.items():
        section, leaf = key.split(".")
        before = None if recorded[section] is None else recorded[section][leaf]
        if before != value:
            what, named_by = _STOOD_ON[key]
            raise UserError(
                f"{what} are not those of the run to resume: {key} is {value} here, {before} there",
                where=named_by,
                remedy="give back what that run had, or begin a new one with training.resume=never",
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
    """The step of the newest complete checkpoint of the run in `folder`; one still written has a suffix."""
    return max(steps_saved(folder), default=None)


class _Absent:
    def __repr__(self) -> str:
        return "(absent)"


_ABSENT = _Absent()


def _named(resume: str, plain: Mapping[str, Any]) -> Parent:
    folder, fault = Path(resume), None
    try:
        folder = folder.expanduser()
        if not _is_run(folder):
            fault = f"{folder} holds no run" if folder.exists() else f"there is no directory {folder}"
    except (OSError, RuntimeError) as error:  # no name for this system, no leave to look, no such home
        fault = f"{folder} cannot be looked into: {error}"
    if fault is not None:
        raise UserError(
            fault,
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
    parent = _parent(folder)
    if parent is None:
        raise UserError(
            f"{folder} has no checkpoint to resume from",
            where="training.resume",
            remedy="begin a new run; training.save_every_steps sets how often checkpoints are made",
        )
    return parent


def _parent(folder: Path) -> Parent | None:
    """The first of the run's line with a checkpoint, else with a finished stage; `None` without either."""
    line = tuple(_line_of(folder))
    for place in line:
        step = newest_step(place)
        if step is not None:
            return Parent(place, _manifest(place), step, line)
    done = next((place for place in line if any((place / STAGES.path).glob("*.json"))), None)
    return None if done is None else Parent(done, _manifest(done), 0, line)


def has_work(folder: Path) -> bool:
    """Whether the run in `folder` left a checkpoint or a finished stage that another can go on from."""
    return _parent(folder) is not None


def went_on_from(folder: Path) -> Iterator[tuple[Path, RunManifest]]:
    """The runs beside the one in `folder` that went on from it, at once or by others; the newest first."""
    beside = sorted(_runs_in(folder.resolve().parent), key=lambda one: one[1].started_at)
    line, found = {_manifest(folder).run_id}, list[tuple[Path, RunManifest]]()
    for place, manifest in beside:  # a run began after the one that it went on from
        if manifest.resumed_from is not None and manifest.resumed_from.run_id in line:
            line.add(manifest.run_id)
            found.append((place, manifest))
    yield from reversed(found)


def _line_of(folder: Path) -> Iterator[Path]:
    """The run, the one beside it that it went on from, the one that this went on from, and so on."""
    beside = {manifest.run_id: place for place, manifest in _runs_in(folder.resolve().parent)}
    seen: set[Path] = set()
    while folder not in seen:
        yield folder
        seen.add(folder)
        parent = _manifest(folder).resumed_from
        if parent is None or parent.run_id not in beside:
            return
        folder = beside[parent.run_id]


def _unfinished(own: Path, plain: Mapping[str, Any]) -> Parent | None:
    """The newest run beside `own` that can be gone on from, and that no run has gone on from to its end."""
    others = [(folder, manifest) for folder, manifest in _runs_in(own.parent) if folder != own]
    went_on = {m.run_id: m.resumed_from.run_id for _, m in others if m.resumed_from is not None}
    finished: set[str] = set()
    for _, manifest in others:
        run_id = manifest.run_id if manifest.status == "completed" else None
        while run_id is not None and run_id not in finished:
            finished.add(run_id)
            run_id = went_on.get(run_id)
    for folder, manifest in sorted(others, key=lambda one: one[1].started_at, reverse=True):
        if manifest.run_id not in finished and _has_config(folder, plain):
            parent = _parent(folder)
            if parent is not None:
                return parent
    return None


def _runs_in(folder: Path) -> Iterator[tuple[Path, RunManifest]]:
    """The runs in `folder` whose manifests can be read; naming another one would say why not."""
    for place in sorted(folder.iterdir()):
        try:
            if _is_run(place):
                yield place, _manifest(place)
        except (UserError, OSError):
            continue


def _has_config(folder: Path, plain: Mapping[str, Any]) -> bool:
    try:
        return not differences(_config(folder), plain)
    except (UserError, OSError):
        return False


def _is_run(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def _manifest(folder: Path) -> RunManifest:
    return parse_manifest(read_text(folder / MANIFEST, file=str(folder / MANIFEST)))


def _config(folder: Path) -> dict[str, Any]:
    file = folder / CONFIG
    if not file.is_file():
        raise UserError(
            f"{folder} has no {CONFIG}: its run ended before it had begun",
            where="training.resume",
            remedy="begin a new run with training.resume=never",
        )
    return registry.completed(read_json_object(file, file=str(file)))
