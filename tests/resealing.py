"""Alter a run with care: every hash that somebody could mend is mended, so that the content must tell."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunix_exp.evidence.board import (
    EVENT_FILE,
    HASHES_TAG,
    MANIFEST_TAG,
    Board,
    records,
)
from tunix_exp.evidence.layout import MANIFEST, SUMS, TENSORBOARD, file_digest, files_of, sums_text
from tunix_exp.evidence.manifest import AFTER_TESTIMONY
from tunix_exp.evidence.strict_json import BrokenFile, json_text


def reseal(run: Path, change: Callable[[dict[str, Any]], object] = lambda manifest: None) -> None:
    """The manifest says what `change` makes of it, and board, manifest and seal have the files' hashes."""
    manifest = read_manifest(run)
    change(manifest)
    write_manifest(run, manifest)
    if (run / TENSORBOARD / EVENT_FILE).exists():
        _rewrite_board(run)
    rehash(run)
    seal(run)


def rehash(run: Path) -> None:
    """The manifest has the hashes of the files as they lie there."""
    manifest = read_manifest(run)
    manifest["files"] = {name: file_digest(run / name) for name in files_of(run)}
    write_manifest(run, manifest)


def seal(run: Path) -> None:
    """`SHA256SUMS` has the hashes that the manifest has, and the manifest's own."""
    own = hashlib.sha256((run / MANIFEST).read_bytes()).hexdigest()
    (run / SUMS).write_text(sums_text({**read_manifest(run)["files"], MANIFEST: own}), encoding="utf-8")


def read_manifest(run: Path) -> dict[str, Any]:
    """The manifest as plain values."""
    return json.loads((run / MANIFEST).read_text(encoding="utf-8"))


def write_manifest(run: Path, manifest: dict[str, Any]) -> None:
    """The manifest holds the plain values, written as a run writes them."""
    (run / MANIFEST).write_text(json_text(manifest, file=MANIFEST), encoding="utf-8")


def event_records(file: Path) -> list[bytes]:
    """The records of an event file without the manifest and the hashes."""
    from tensorboardX.proto.event_pb2 import Event

    kept = []
    for record in records(file, file.name):
        tags = {value.tag for value in Event.FromString(record).summary.value}
        if not tags & {MANIFEST_TAG, HASHES_TAG}:
            kept.append(record)
    return kept


def write_board(run: Path, kept: list[bytes]) -> None:
    """The event file holds the records, and the manifest and hashes of the other files as they are."""
    file = run / TENSORBOARD / EVENT_FILE
    file.unlink(missing_ok=True)
    board = Board(file.parent)
    for record in kept[1:]:  # the first is the board's own
        board._records.write(record)
    plain = {key: value for key, value in read_manifest(run).items() if key not in AFTER_TESTIMONY}
    others = [name for name in files_of(run) if not name.startswith(TENSORBOARD)]
    board.write_manifest(plain, {name: file_digest(run / name) for name in others})
    board.close()


def _rewrite_board(run: Path) -> None:
    try:
        write_board(run, event_records(run / TENSORBOARD / EVENT_FILE))
    except BrokenFile:
        return  # a damaged board stays as it is
