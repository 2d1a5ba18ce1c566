"""`stages/*.json`: what a stage made, and what it was made from, so that no other run need make it again."""

from pathlib import Path
from typing import Any

from tunix_exp.evidence.kinds.kind import Disagreement, Found, Kind, only
from tunix_exp.evidence.kinds.read import parsed
from tunix_exp.evidence.layout import MANIFEST
from tunix_exp.evidence.opened import OpenedRun
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


def _integrity(run: OpenedRun) -> Found:
    """The files are those of the record, and whoever made them is this run or one that it went on from."""
    for name in sorted(file for file in run.files if KIND.has(file)):
        record = read_record(run.root, name)
        for file, digest in record.files.items():
            if run.digests.get(file) != digest:
                yield Disagreement(file, f"is not the file whose hash {name} has")
        if record.made_by != run.manifest.run_id and run.manifest.resumed_from is None:
            yield Disagreement(name, f"is of run {record.made_by}, but `resumed_from` of {MANIFEST} is null")


_FOLDER = "stages/"
KIND = Kind(
    path=_FOLDER,
    name="records of stages",
    holds="what each evaluation made, and from what: a run that goes on from this one need not repeat it",
    when=only("may", lambda facts: facts.computes and facts.eval_kind != "none"),
    integrity=(_integrity,),
)
