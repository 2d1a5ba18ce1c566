"""The manifest of a run on disk: its creation claims the directory, and it is replaced whole, sealed last."""

import hashlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from pydantic_core import to_jsonable_python

from tunix_exp import interruption
from tunix_exp.errors import UserError
from tunix_exp.evidence.layout import MANIFEST, SUMS, sums_text
from tunix_exp.evidence.manifest import RunManifest, parse_manifest, read_manifest
from tunix_exp.evidence.strict_json import json_text


class ClaimedManifest:
    """The manifest of a directory that is this process's alone; `now` is what stands on disk."""

    def __init__(self, root: Path, now: RunManifest) -> None:
        """Use `claim`; a directory that is not claimed may belong to another run."""
        self.root = root
        self.now = now

    @classmethod
    def claim(cls, root: Path, manifest: RunManifest) -> "ClaimedManifest":
        """The directory is this run's alone, and says `running`.

        The claim is the exclusive creation of the manifest: of two processes one gets the directory, the
        other a `UserError`. Hydra's own `.hydra/` and `*.log` may lie there already, nothing else.
        """
        file = root / MANIFEST
        try:
            root.mkdir(parents=True, exist_ok=True)
            claimed = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            raise _in_use(root) from None
        except OSError as error:
            raise UserError(
                f"the run directory cannot be written: {error.strerror}",
                where=str(root),
                remedy="name another place with hydra.run.dir=… (sweeps: hydra.sweep.dir=…)",
            ) from error
        with os.fdopen(claimed, "wb") as stream:
            _write_through(stream, _content(manifest))
        strangers = sorted(entry.name for entry in root.iterdir() if not _may_precede(entry))
        if strangers:
            file.unlink()
            raise UserError(
                f"the run directory is not empty: {', '.join(strangers[:5])}",
                where=str(root),
                remedy="name another directory with hydra.run.dir=…, or move these files away",
            )
        return cls(root, manifest)

    @interruption.held()
    def rewrite(self, **sections: object) -> None:
        """The manifest says `sections` too; a dict is merged into the section as it stands."""
        manifest = self._with(sections)
        replace(self.root / MANIFEST, _content(manifest))
        self.now = manifest

    @interruption.held()
    def seal(self, **sections: object) -> None:
        """The manifest says `sections` and is final: `SHA256SUMS` has its hash and that of every file."""
        manifest = self._with(sections)
        content = _content(manifest)
        assert manifest.files is not None
        hashes = {**manifest.files, MANIFEST: hashlib.sha256(content).hexdigest()}
        # The seal first: a kill in between leaves a manifest that still says `running`.
        replace(self.root / SUMS, sums_text(hashes).encode())
        replace(self.root / MANIFEST, content)
        self.now = manifest

    def _with(self, sections: Mapping[str, object]) -> RunManifest:
        plain = self.now.model_dump(mode="json")
        for name, value in to_jsonable_python(sections).items():
            if name not in plain:
                raise ValueError(f"the manifest has no section {name!r}")
            is_part = isinstance(value, dict) and isinstance(plain[name], dict) and name != "files"
            plain[name] = {**plain[name], **value} if is_part else value
        return parse_manifest(json_text(plain, file=MANIFEST))


def replace(path: Path, content: bytes) -> None:
    """The file holds `content`, whole; after a crash it holds this or what it held before."""
    # the same folder, because a rename is atomic only within one file system
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with temporary.open("wb") as stream:
            _write_through(stream, content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write_through(stream: BinaryIO, content: bytes) -> None:
    stream.write(content)
    stream.flush()
    os.fsync(stream.fileno())


def _content(manifest: RunManifest) -> bytes:
    return json_text(manifest.model_dump(mode="json"), file=MANIFEST).encode("utf-8")


def _may_precede(entry: Path) -> bool:
    return entry.name in (".hydra", MANIFEST) or entry.suffix == ".log"


def _in_use(root: Path) -> UserError:
    try:
        status = f"`{read_manifest(root).status}`"
    except (OSError, UserError):
        status = "unreadable"
    return UserError(
        f"run directory in use: the run that lies there is {status}",
        where=str(root),
        remedy="name another directory with hydra.run.dir=…; to go on from its checkpoint, training.resume=…",
    )
