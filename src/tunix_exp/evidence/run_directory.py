"""The one door to a run directory: claimed once, written atomically, finished last."""

import hashlib
import os
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from pydantic import BaseModel
from rich.console import Console

from tunix_exp import interruption
from tunix_exp.errors import UserError
from tunix_exp.evidence.board import Board
from tunix_exp.evidence.console import RunLog
from tunix_exp.evidence.error_record import error_record
from tunix_exp.evidence.findings import derive
from tunix_exp.evidence.kinds import pages
from tunix_exp.evidence.kinds.kind import Kind
from tunix_exp.evidence.kinds.read import validated
from tunix_exp.evidence.kinds.registry import kinds_of
from tunix_exp.evidence.kinds.tensorboard import KIND as TENSORBOARD
from tunix_exp.evidence.layout import LOG, MANIFEST, SUMS, file_hashes, sums_text
from tunix_exp.evidence.manifest import ErrorRecord, Finding, RunManifest, Status, parse_manifest, utc_now
from tunix_exp.evidence.opened import OpenedRun
from tunix_exp.evidence.strict_json import BrokenFile, json_line, json_text
from tunix_exp.evidence.verify import Disagreement, verify

# Sections that only the end of a run may set.
_ENDING = frozenset({"status", "error", "finished_at", "elapsed_s", "findings", "files"})


class RunDirectory:
    """A run directory that this process holds; every file in it is written through here."""

    def __init__(self, root: Path, manifest: RunManifest, log: RunLog) -> None:
        """Use `claim`; a directory that is not claimed may belong to another run."""
        self.root = root
        self.log = log
        self._manifest = manifest
        self._appending: dict[str, TextIO] = {}
        self._is_closed = False
        self._at_end: list[Callable[[], None]] = []

    @classmethod
    def claim(cls, root: Path, manifest: RunManifest, *, console: Console | None = None) -> "RunDirectory":
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
            stream.write(_manifest_bytes(manifest))
            stream.flush()
            os.fsync(stream.fileno())
        strangers = sorted(entry.name for entry in root.iterdir() if not _may_precede(entry))
        if strangers:
            file.unlink()
            raise UserError(
                f"the run directory is not empty: {', '.join(strangers[:5])}",
                where=str(root),
                remedy="name another directory with hydra.run.dir=…, or move these files away",
            )
        return cls(root, manifest, RunLog(root / LOG, console=console))

    @property
    def manifest(self) -> RunManifest:
        """The manifest as it stands on disk."""
        return self._manifest

    @cached_property
    def board(self) -> Board:
        """The TensorBoard writer; `tensorboard/` appears with its first use."""
        self._refuse_when_closed()
        return Board(self.root / TENSORBOARD.path)

    def path(self, name: str) -> Path:
        """Where a library may write `name` itself; the folder above it exists."""
        self._refuse_when_closed()
        relative = Path(name)
        if relative.is_absolute() or ".." in relative.parts or name in ("", ".", MANIFEST):
            raise ValueError(f"not a file of the run directory: {name!r}")
        path = self.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, kind: Kind, value: Any) -> None:
        """The file of the kind holds `value`, whole: an object, or the rows that its schema allows."""
        if kind.path.endswith(".jsonl"):
            rows = [row.to_dict() if hasattr(row, "to_dict") else row for row in value]
            for line, row in enumerate(rows, start=1):
                validated(kind, row, line=line)
            self.write_jsonl(kind.path, rows)
        else:
            validated(kind, value)
            self.write_json(kind.path, value)

    def append(self, kind: Kind, row: Mapping[str, Any]) -> None:
        """The file of the kind has one more line, and TensorBoard its figures where the kind has curves."""
        assert kind.is_appended, kind.path
        self.append_jsonl(kind.path, row)
        validated(kind, dict(row))
        if kind.curves is not None:
            figures = {f"{kind.curves}{key}": value for key, value in row.items() if key != "step"}
            self.board.scalars(row["step"], figures)

    def write_text(self, name: str, text: str) -> None:
        """The file holds `text`, whole, in UTF-8; after a crash it holds this or what it held before."""
        self.write_bytes(name, text.encode("utf-8"))

    def write_bytes(self, name: str, content: bytes) -> None:
        """The file holds `content`, whole; after a crash it holds this or what it held before."""
        _replace(self.path(name), content)

    def write_json(self, name: str, value: object) -> None:
        """The file holds `value` in its own key order; a number that is not finite is refused by its key."""
        self.write_text(name, json_text(value, file=name))

    def write_jsonl(self, name: str, rows: Iterable[object]) -> None:
        """The file holds one line per row, all of them or, after a crash, none."""
        self.write_text(name, "".join(json_line(row, file=name) for row in rows))

    def append_jsonl(self, name: str, row: object) -> None:
        """The file has one more line, already handed to the system, so that a kill loses none."""
        line = json_line(row, file=name)
        if name not in self._appending:
            self._appending[name] = self.path(name).open("x", encoding="utf-8", newline="\n", buffering=1)
        self._refuse_when_closed()
        with interruption.held():
            self._appending[name].write(line)

    def update(self, **sections: object) -> None:
        """The manifest says `sections` too; a dict is merged into the section as it stands."""
        self._refuse_when_closed()
        if _ENDING & sections.keys():
            raise ValueError(f"only the end of a run sets {sorted(_ENDING & sections.keys())}")
        self._rewrite(**sections)

    def before_end(self, write: Callable[[], None]) -> None:
        """`write` is called when all else is written and nothing is hashed yet; not when the run fails."""
        self._at_end.append(write)

    def complete(self, *, pages: Callable[[], None] | None = None, **sections: object) -> None:
        """The run is `completed`: the verifier has read everything back and disagrees with nothing.

        `pages` writes what a person reads, once the manifest says when the run finished and what was odd.
        Otherwise the run is `failed`, its error record lists the disagreements, and a `UserError` says so.
        Nothing can be written afterwards, except the `failure_analysis.md` of a failed run through `fail`.
        """
        self.update(**sections)
        self._write_last()
        self._settle("completed")
        for finding in self._manifest.findings or ():
            self.log.say(f"finding: {finding.where}: {finding.sentence}")
        if pages is not None:
            pages()
        # Hashes first, still `running`: a kill between here and the last line leaves no finished run.
        self._rewrite(files=self._closed())
        found = verify(self.root, as_status="completed")
        if not found:
            self._seal(status="completed")
            return
        error = _disagreement_error(self.root, found)
        self._seal(status="failed", error=error_record("verify", error))
        raise error

    def fail(self, stage: str, error: BaseException, *, analysis: str) -> None:
        """The run is `failed`, with its error record and `analysis` as `failure_analysis.md`.

        After a `complete` that failed, the error record stays and the analysis is added.
        """
        if self._manifest.status not in ("running", "failed"):
            raise RuntimeError(f"the run is already {self._manifest.status}")
        _replace(self.root / pages.FAILURE_ANALYSIS.path, analysis.encode("utf-8"))
        self._end("failed", stage, error)

    def interrupt(self, stage: str, error: BaseException) -> None:
        """The run is `interrupted`, with an error record that says where it stopped."""
        if self._manifest.status != "running":
            raise RuntimeError(f"the run is already {self._manifest.status}")
        record = error_record(stage, error)
        # At once, as a kill may follow; the hashes come after it, and are null until then.
        # Once it is closed, it says when that was.
        finished_at = self._manifest.finished_at if self._is_closed else utc_now()
        self._rewrite(status="interrupted", error=record, files=None, finished_at=finished_at)
        self.log.note(f"interrupted ({stage}): {record.message}")
        if not self._is_closed:
            try:
                self._write_last()
            except Exception as failed:  # it may need what a whole run has
                self.log.say(f"left out at the end: {failed}")
        self._end("interrupted", stage, error)

    def cut_off(self, stage: str, name: str) -> None:
        """The run is `interrupted` by the signal `name`, and no file is hashed.

        For another thread, before it ends the process whose main thread is at work still. A run that has
        ended stays as it is.
        """
        if self._manifest.status == "running":
            says = f"{name}; the process was ended, as stage `{stage}` did not answer"
            self.log.note(f"interrupted ({stage}): {says}")
            record = ErrorRecord(
                stage=stage, type=interruption.Stopped.__name__, message=says, where=None, remedy=None
            )
            self._rewrite(status="interrupted", error=record, files=None, finished_at=utc_now())

    def _end(self, status: Status, stage: str, error: BaseException) -> None:
        record = self._manifest.error if self._manifest.error is not None else error_record(stage, error)
        # What was being written when the error came is held open by its frames, and would change after this.
        traceback.clear_frames(error.__traceback__)
        try:
            if self._is_closed:
                files = file_hashes(self.root)
            else:
                self._settle(status)
                files = self._closed()
        except OSError:
            # a disk that fails here must not hide why the run failed: null hashes are allowed then
            self._rewrite(status=status, error=record, files=None, finished_at=utc_now())
            return
        self._rewrite(files=files)
        self._seal(status=status, error=record)

    def _settle(self, status: Status) -> None:
        """The manifest says when the run finished, how long it took by its own clock, and what was odd."""
        self._rewrite(
            finished_at=utc_now(), elapsed_s=self.log.elapsed_s(), console_lost=self.log.console_lost()
        )
        self._rewrite(findings=self._found(status))

    def _found(self, status: Status) -> tuple[Finding, ...] | None:
        try:
            return derive(OpenedRun(self.root, self._manifest, status, kinds_of, is_sealed=False))
        except (BrokenFile, UserError):
            # What is broken the verifier says; a run that ended in the middle may leave half a file.
            return () if status == "completed" else None

    @interruption.held()
    def _seal(self, **sections: object) -> None:
        """The manifest says `sections` and is final: `SHA256SUMS` has its hash and that of every file."""
        manifest = self._with(**sections)
        content = _manifest_bytes(manifest)
        assert manifest.files is not None
        hashes = {**manifest.files, MANIFEST: hashlib.sha256(content).hexdigest()}
        # The seal first: a kill in between leaves a manifest that still says `running`.
        _replace(self.root / SUMS, sums_text(hashes).encode())
        _replace(self.root / MANIFEST, content)
        self._manifest = manifest

    @interruption.held()
    def _rewrite(self, **sections: object) -> None:
        manifest = self._with(**sections)
        _replace(self.root / MANIFEST, _manifest_bytes(manifest))
        self._manifest = manifest

    def _with(self, **sections: object) -> RunManifest:
        plain = self._manifest.model_dump(mode="json")
        for name, value in sections.items():
            if name not in plain:
                raise ValueError(f"the manifest has no section {name!r}")
            new = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
            if isinstance(value, tuple):
                new = [one.model_dump(mode="json") if isinstance(one, BaseModel) else one for one in value]
            if isinstance(new, Mapping) and isinstance(plain[name], dict) and name != "files":
                new = {**plain[name], **new}
            plain[name] = new
        return parse_manifest(json_text(plain, file=MANIFEST))

    def _write_last(self) -> None:
        while self._at_end:
            self._at_end.pop(0)()

    @interruption.held()
    def _closed(self) -> dict[str, str]:
        """Every writer is closed; the hash of every file."""
        self._is_closed = True
        for stream in self._appending.values():
            stream.close()
        self.log.close()
        if "board" in self.__dict__:
            self.board.close()
        return file_hashes(self.root)

    def _refuse_when_closed(self) -> None:
        if self._is_closed:
            raise RuntimeError("the run directory is closed: nothing is written once its files are hashed")


def _manifest_bytes(manifest: RunManifest) -> bytes:
    return json_text(manifest.model_dump(mode="json"), file=MANIFEST).encode("utf-8")


def _replace(path: Path, content: bytes) -> None:
    # the same folder, because a rename is atomic only within one file system
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _may_precede(entry: Path) -> bool:
    return entry.name in (".hydra", MANIFEST) or entry.suffix == ".log"


def _in_use(root: Path) -> UserError:
    try:
        status = f"`{parse_manifest((root / MANIFEST).read_text(encoding='utf-8')).status}`"
    except (OSError, UserError, UnicodeDecodeError):
        status = "unreadable"
    return UserError(
        f"run directory in use: the run that lies there is {status}",
        where=str(root),
        remedy="name another directory with hydra.run.dir=…; to go on from its checkpoint, training.resume=…",
    )


def _disagreement_error(root: Path, found: list[Disagreement]) -> UserError:
    listed = "; ".join(f"{one.file}: {one.what}" for one in found)
    return UserError(
        f"the run's files disagree ({len(found)}): {listed}",
        where=str(root),
        remedy="the run is kept as failed; nothing in it counts as a result",
    )
