"""Whether a run directory is what it says: every file re-read, every number computed again.

Needs nothing but the directory: no JAX, no model, no network. What there is to check, each kind of evidence
says itself; here they are walked.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tunix_exp.errors import UserError
from tunix_exp.evidence import layout
from tunix_exp.evidence.findings import derive
from tunix_exp.evidence.kinds.kind import Absent, Disagreement, Kind, Line
from tunix_exp.evidence.kinds.origin import KIND as ORIGIN
from tunix_exp.evidence.kinds.origin import origin_if_any
from tunix_exp.evidence.kinds.registry import kinds_of
from tunix_exp.evidence.manifest import RunManifest, read_manifest
from tunix_exp.evidence.opened import OpenedRun
from tunix_exp.evidence.sections import Finding, Status
from tunix_exp.evidence.strict_json import BrokenFile

_TEXT_SUFFIXES = (".txt", ".md", ".html", ".yaml", ".json", ".jsonl")


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found in a run: it is verified when nothing disagrees, whatever is odd about it; `notes` say
    what could not be checked.
    """

    manifest: RunManifest | None
    disagreements: list[Disagreement]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()


def verify(run: Path, *, as_status: Status | None = None) -> list[Disagreement]:
    """Everything in which the run directory contradicts itself; empty when it is verified.

    `as_status` asks whether the run could have that status, whatever its manifest says: the run's own last
    question, before it is sealed.
    """
    return inspect(run, as_status=as_status).disagreements


def inspect(run: Path, *, as_status: Status | None = None) -> Inspection:
    """What contradicts itself in the run directory, and, when nothing does, what is odd about it."""
    if not run.is_dir():
        raise UserError(
            "there is no run directory", where=str(run), remedy="name a directory that a run has made"
        )
    try:
        manifest = read_manifest(run)
    except FileNotFoundError:
        return _refused("is missing: no run has claimed this directory")
    except UserError as error:
        return _refused(error.what)
    status = manifest.status if as_status is None else as_status
    if status == "running":
        return _refused("the run did not finish: its status is still `running`")
    opened = OpenedRun(run, manifest, status, kinds_of, is_sealed=as_status is None)
    found = list(dict.fromkeys(_checked(opened)))
    if found or as_status is not None:
        return Inspection(manifest, found, () if found else _odd(opened))
    found, notes = _chained(opened)
    return Inspection(manifest, found, () if found else _odd(opened), notes)


def runs_below(path: Path) -> Iterator[Path]:
    """Every run directory at or below `path`, sorted; a folder that Hydra alone has touched counts."""
    for folder, names, found in os.walk(path):
        names.sort()
        if layout.MANIFEST in found or ".hydra" in names:
            names.clear()
            yield Path(folder)


def runs_at(path: Path) -> list[Path]:
    """The run at `path`, or the runs below it, job 10 after job 9; a `UserError` where there is none."""
    runs = list(runs_below(path)) if path.is_dir() else []
    if not runs:
        raise UserError(
            "there is no run directory at or below the path",
            where=str(path),
            remedy="name a run directory, or a directory of runs such as outputs/NAME or multirun/NAME",
        )
    return sorted(runs, key=lambda run: (len(str(run)), str(run)))


def _chained(run: OpenedRun) -> tuple[list[Disagreement], tuple[str, ...]]:
    """What contradicts itself in the run that this one began with, and in those before that one; of one that
    lies no longer where it lay, a note.
    """
    origin = origin_if_any(run.root)
    if origin is None:
        return [], ()
    place, first = Path(origin.place).expanduser(), origin.chain[0]
    if not (place / layout.MANIFEST).is_file():
        note = f"the evidence of run {first.run_id}, with whose model it began: it is not at {origin.place}"
        return [], (note,)
    if layout.file_digest(place / layout.MANIFEST) != first.manifest_sha256:
        what = f"the manifest in {origin.place} is not that of run {first.run_id}, with whose model it began"
        return [Disagreement(ORIGIN.path, what)], ()
    seen = inspect(place)
    faults = [
        f"in {origin.place}, with whose model it began: {one.file} {one.what}" for one in seen.disagreements
    ]
    return [Disagreement(ORIGIN.path, fault) for fault in faults], seen.notes


def _odd(run: OpenedRun) -> tuple[Finding, ...]:
    try:
        return derive(run)
    except UserError:
        if run.status == "completed":
            raise
        return ()  # a run that did not complete may leave lines that nothing can be read off


def _refused(what: str) -> Inspection:
    return Inspection(None, [Disagreement(layout.MANIFEST, what)], ())


def _checked(run: OpenedRun) -> Iterator[Disagreement]:
    for kind in run.kinds:
        yield from _present(run, kind)
        for name in sorted(name for name in run.files if kind.has(name)):
            try:
                yield from _readable(run, kind, name)
            except UserError as error:
                yield _broken(name, error)
        for check in (*kind.at_any_end, *(kind.integrity if run.status == "completed" else ())):
            try:
                for one in check(run):
                    yield one if isinstance(one, Disagreement) else Disagreement(kind.path, one)
            except UserError as error:
                yield _broken(kind.path, error)
            except Absent:
                pass  # that the file is missing has been said already


def _present(run: OpenedRun, kind: Kind) -> Iterator[Disagreement]:
    """Every file that must be there is, and none that cannot."""
    due, mode = kind.due(run.facts), run.manifest.mode
    for name in kind.files if due == "must" else ():
        if not run.has(name):
            yield Disagreement(name, f"is missing in a {run.status} run of mode {mode}")
    if due == "never" and run.has(kind.path):
        yield Disagreement(kind.path, f"cannot come from a {run.status} run of this mode and eval ({mode})")


def _readable(run: OpenedRun, kind: Kind, name: str) -> Iterator[Disagreement]:
    """The file follows the schema of its kind; a text is UTF-8 and holds something.

    What lies in a folder without parts is its library's own. A run that failed may have failed by the schema.
    """
    if name not in kind.files or name == layout.MANIFEST:
        return
    if name.endswith(".jsonl") and run.status == "completed":
        run.lines(kind) if issubclass(kind.schema or Line, Line) else run.rows(kind)
    elif name.endswith(".json") and name == kind.path and run.status == "completed":
        run.object(kind)
    elif name.endswith(_TEXT_SUFFIXES) and not run.text(name).strip():
        yield Disagreement(name, "is empty")


def _broken(file: str, error: UserError) -> Disagreement:
    if isinstance(error, BrokenFile):
        return Disagreement(error.file, error.finding)
    return Disagreement(file, error.what if error.where is None else f"{error.where}: {error.what}")
