"""`stages/*.json`: what a stage made, and what it was made from, so that no other run need make it again."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tunix_exp.evidence.kinds.composed import is_job
from tunix_exp.evidence.kinds.kind import Disagreement, Found, Kind, only
from tunix_exp.evidence.kinds.read import parsed
from tunix_exp.evidence.layout import MANIFEST
from tunix_exp.evidence.manifest import RunManifest
from tunix_exp.evidence.opened import OpenedRun, differs
from tunix_exp.evidence.sections import Sha256, Word
from tunix_exp.evidence.strict_json import read_json_object
from tunix_exp.schema import Config


class StageRecord(Config):
    """The files that a stage made, by their hashes, its inputs, and the run that did it."""

    stage: Word
    made_by: Word
    inputs: dict[str, Any]
    files: dict[str, Sha256]


def path_of(stage: str) -> str:
    """Where the record of `stage` lies."""
    return f"{_FOLDER}{stage.replace(' ', '_')}.json"


def read_record(root: Path, name: str) -> StageRecord:
    """The record in the file `name` of the run at `root`; a `BrokenFile` where it is none."""
    return parsed(StageRecord, read_json_object(root / name, file=name), file=name)


def reused(root: Path, manifest: RunManifest) -> list[StageRecord]:
    """The records of what the run at `root`, which has this manifest, took from another."""
    names = sorted(file.relative_to(root).as_posix() for file in (root / _FOLDER).glob("*.json"))
    records = [read_record(root, name) for name in names]
    return [record for record in records if record.made_by != manifest.run_id]


def recorded_inputs(stage: str, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest, which says `recorded`, says of the inputs of an evaluation."""
    model, adapter = recorded["model"], recorded["adapter"]
    weights = [model["base_weight_hash"]]
    if stage == _TRAINED:
        weights += [model["trained_weight_hash"], adapter and adapter["frozen_weight_hash_after"]]
    return {
        "weights": weights,
        "adapter_files": adapter and adapter["files"],
        "items": recorded["eval"],
        "tokenizer": model["tokenizer_digest"],
        **{key: recorded[key] for key in ("code", "machine", "devices", "versions", "environment")},
    }


def _made(run: OpenedRun) -> Found:
    """The files are the record's, made by this run, one that it went on from, or another job of its sweep."""
    for name, record in _records(run):
        for file, digest in record.files.items():
            if run.digests.get(file) != digest:
                yield Disagreement(file, f"is not the file whose hash {name} has")
        if record.made_by != run.manifest.run_id and run.manifest.resumed_from is None and not is_job(run):
            yield Disagreement(
                name,
                f"is of run {record.made_by}, but `resumed_from` of {MANIFEST} is null, and the run is no job"
                " of a sweep",
            )


def _inputs(run: OpenedRun) -> Found:
    """The inputs of a record are those that the manifest has."""
    recorded = run.once("object", MANIFEST, lambda: read_json_object(run.root / MANIFEST, file=MANIFEST))
    for name, record in _records(run) if recorded["model"] is not None else ():
        for key, due in recorded_inputs(record.stage, recorded).items():
            for what in differs(f"inputs.{key}", record.inputs.get(key), MANIFEST, due):
                yield Disagreement(name, what)


def _records(run: OpenedRun) -> Iterator[tuple[str, StageRecord]]:
    for name in sorted(file for file in run.files if KIND.has(file)):
        yield name, read_record(run.root, name)


_FOLDER = "stages/"
_TRAINED = "trained evaluation"
KIND = Kind(
    path=_FOLDER,
    name="records of stages",
    holds="what each evaluation made, and from what: neither a run that goes on from this one nor another job"
    " of its sweep repeats it",
    when=only("may", lambda facts: facts.computes and facts.eval_kind != "none"),
    integrity=(_made, _inputs),
)
