"""A stage that a run before this one has done, from the same inputs, is not done again."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tunix_exp.errors import UserError
from tunix_exp.evidence.kinds.kind import Kind
from tunix_exp.evidence.kinds.stages import StageRecord, path_of, read_record
from tunix_exp.evidence.layout import file_digest
from tunix_exp.evidence.run_directory import RunDirectory

_Made = TypeVar("_Made")


def once(
    stage: str,
    *,
    inputs: Mapping[str, Any],
    kinds: tuple[Kind, ...],
    line: tuple[Path, ...],
    evidence: RunDirectory,
    make: Callable[[], _Made],
    read: Callable[[], _Made],
) -> _Made:
    """What the stage makes: read back where a run of `line` left it whole, else made; its record is left.

    `make` writes the files of `kinds`, and `read` reads them.
    """
    for folder in line:
        record = _whole(folder, stage, inputs, kinds)
        if record is not None:
            for file in record.files:
                evidence.write_bytes(file, (folder / file).read_bytes())
            _leave(record, evidence)
            evidence.log.say(f"{stage}: reused from {folder}, made by run {record.made_by}")
            return read()
    made = make()
    files = {kind.path: file_digest(evidence.root / kind.path) for kind in kinds}
    _leave(
        StageRecord(stage=stage, made_by=evidence.manifest.run_id, inputs=dict(inputs), files=files), evidence
    )
    return made


def _leave(record: StageRecord, evidence: RunDirectory) -> None:
    evidence.write_json(path_of(record.stage), record.model_dump(mode="json"))


def _whole(
    folder: Path, stage: str, inputs: Mapping[str, Any], kinds: tuple[Kind, ...]
) -> StageRecord | None:
    """The record of the stage below `folder`, if it is of these inputs and its files are as they were."""
    try:
        record = read_record(folder, path_of(stage))
        is_same = record.inputs == inputs and record.files.keys() == {kind.path for kind in kinds}
        is_whole = is_same and all(file_digest(folder / file) == sha for file, sha in record.files.items())
    except (OSError, UserError):
        return None  # no such record, or half of one: the stage is done again
    return record if is_whole else None
