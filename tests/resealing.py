"""Alter a run with care: every hash that somebody could mend is mended, so that the content must tell."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunix_exp.evidence.board import EVENT_FILE, FOLDER, Board, records
from tunix_exp.evidence.layout import MANIFEST, SUMS, file_digest, files_of, sums_text
from tunix_exp.evidence.strict_json import json_text


def reseal(run: Path, change: Callable[[dict[str, Any]], object] = lambda manifest: None) -> None:
    """The manifest says what `change` makes of it, and manifest and seal have the files' hashes."""
    manifest = read_manifest(run)
    change(manifest)
    write_manifest(run, manifest)
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


def event_records(run: Path) -> list[bytes]:
    """The records of the run's event file."""
    return list(records(run / FOLDER / EVENT_FILE, EVENT_FILE))


def write_board(run: Path, kept: list[bytes]) -> None:
    """The run's event file holds the records."""
    file = run / FOLDER / EVENT_FILE
    file.unlink(missing_ok=True)
    board = Board(file.parent)
    for record in kept[1:]:  # the first is the board's own
        board._records.write(record)
    board.close()
