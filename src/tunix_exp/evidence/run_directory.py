"""The one door to a run directory: claimed once, written atomically, finished last."""

import traceback
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console

from tunix_exp import interruption
from tunix_exp.errors import UserError
from tunix_exp.evidence.board import Board
from tunix_exp.evidence.claimed import ClaimedManifest, replace
from tunix_exp.evidence.console import RunLog, plain_console
from tunix_exp.evidence.error_record import error_record
from tunix_exp.evidence.findings import derive
from tunix_exp.evidence.kinds import pages
from tunix_exp.evidence.kinds.kind import Kind
from tunix_exp.evidence.kinds.read import validated
from tunix_exp.evidence.kinds.registry import kinds_of
from tunix_exp.evidence.kinds.tensorboard import KIND as TENSORBOARD
from tunix_exp.evidence.layout import LOG, MANIFEST, file_hashes
from tunix_exp.evidence.manifest import RunManifest, utc_now
from tunix_exp.evidence.opened import OpenedRun
from tunix_exp.evidence.sections import ErrorRecord, Finding, Status
from tunix_exp.evidence.strict_json import BrokenFile, json_line, json_text
from tunix_exp.evidence.verify import verify

# Sections that only the end of a run may set.
_ENDING = frozenset({"status", "error", "finished_at", "elapsed_s", "findings", "files"})


class RunDirectory:
    """A run directory that this process holds; every file in it is written through here."""

    def __init__(self, claimed: ClaimedManifest, log: RunLog, *, place: Path | None = None) -> None:
        """Use `claim`; a directory that is not claimed may belong to another run."""
        self.root = claimed.root
        self.place = claimed.root if place is None else place
        self.log = log
        self._claimed = claimed
        self._appending: dict[str, TextIO] = {}
        self._is_closed = False
        self._at_end: list[Callable[[], None]] = []

    @classmethod
    def claim(
        cls,
        root: Path,
        manifest: RunManifest,
        *,
        console: Console | None = None,
        place: Path | None = None,
        log: Path | None = None,
    ) -> "RunDirectory":
        """The directory is this run's alone, and says `running`; a `UserError` where it is not empty.

        Of several processes that compute one run the first has the run's directory. The others have scratch
        directories, `place` is the run's own, and they say nothing but to their `log` there.
        """
        claimed = ClaimedManifest.claim(root, manifest)
        if log is None:
            return cls(claimed, RunLog(root / LOG, console=console))
        log.parent.mkdir(parents=True, exist_ok=True)
        return cls(claimed, RunLog(log, console=plain_console(quiet=True)), place=place)

    @property
    def is_kept(self) -> bool:
        """Whether this is the run's own directory, not a scratch one."""
        return self.root == self.place

    @property
    def manifest(self) -> RunManifest:
        """The manifest as it stands on disk."""
        return self._claimed.now

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

    def shared(self, name: str) -> Path:
        """Where all processes of the run write `name` together."""
        return self.path(name) if self.is_kept else self.place / name

    def write(self, kind: Kind, value: Any) -> None:
        """The file of the kind holds `value`, whole: an object, or the rows that its schema allows."""
        if not kind.path.endswith(".jsonl"):
            validated(kind, value)
            self.write_json(kind.path, value)
            return
        rows = [row.to_dict() if hasattr(row, "to_dict") else row for row in value]
        for line, row in enumerate(rows, start=1):
            validated(kind, row, line=line)
        self.write_text(kind.path, "".join(json_line(row, file=kind.path) for row in rows))

    def append(self, kind: Kind, row: Mapping[str, Any]) -> None:
        """The file of the kind has one more line, and TensorBoard its figures where the kind has curves."""
        assert kind.is_appended, kind.path
        self.append_jsonl(kind.path, row)
        validated(kind, dict(row))
        if kind.curves is not None:
            figures = {f"{kind.curves}{key}": value for key, value in row.items() if key != "step"}
            self.board.scalars(row["step"], figures)

    def write_json(self, name: str, value: object) -> None:
        """The file holds `value` in its own key order; a number that is not finite is refused by its key."""
        self.write_text(name, json_text(value, file=name))

    def write_text(self, name: str, text: str) -> None:
        """The file holds `text`, whole, in UTF-8; after a crash it holds this or what it held before."""
        self.write_bytes(name, text.encode("utf-8"))

    def write_bytes(self, name: str, content: bytes) -> None:
        """The file holds `content`, whole; after a crash it holds this or what it held before."""
        replace(self.path(name), content)

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
        self._claimed.rewrite(**sections)

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
        for finding in self.manifest.findings or ():
            self.log.say(f"finding: {finding.where}: {finding.sentence}")
        if pages is not None:
            pages()
        # Hashes first, still `running`: a kill between here and the last line leaves no finished run.
        self._claimed.rewrite(files=self._closed())
        found = verify(self.root, as_status="completed")
        if not found:
            self._claimed.seal(status="completed")
            return
        listed = "; ".join(f"{one.file}: {one.what}" for one in found)
        error = UserError(
            f"the run's files disagree ({len(found)}): {listed}",
            where=str(self.root),
            remedy="the run is kept as failed; nothing in it counts as a result",
        )
        self._claimed.seal(status="failed", error=error_record("verify", error))
        raise error

    def fail(self, stage: str, error: BaseException, *, analysis: str) -> None:
        """The run is `failed`, with its error record and `analysis` as `failure_analysis.md`.

        After a `complete` that failed, the error record stays and the analysis is added.
        """
        if self.manifest.status not in ("running", "failed"):
            raise RuntimeError(f"the run is already {self.manifest.status}")
        replace(self.root / pages.FAILURE_ANALYSIS.path, analysis.encode("utf-8"))
        self._end("failed", stage, error)

    def interrupt(self, stage: str, error: BaseException) -> None:
        """The run is `interrupted`, with an error record that says where it stopped."""
        if self.manifest.status != "running":
            raise RuntimeError(f"the run is already {self.manifest.status}")
        # Once it is closed, it says when that was.
        finished_at = self.manifest.finished_at if self._is_closed else utc_now()
        # At once, as a kill may follow; the hashes come after it, and are null until then.
        self._interrupted(error_record(stage, error), finished_at)
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
        if self.manifest.status == "running":
            says = f"{name}; the process was ended, as stage `{stage}` did not answer"
            kind = interruption.Stopped.__name__
            self._interrupted(
                ErrorRecord(stage=stage, type=kind, message=says, where=None, remedy=None), utc_now()
            )

    def abandon(self, stage: str, error: UserError, *, analysis: str) -> None:
        """The run is `failed`, and no file is hashed: for another thread, as `cut_off`."""
        if self.manifest.status == "running":
            replace(self.root / pages.FAILURE_ANALYSIS.path, analysis.encode("utf-8"))
            self._claimed.rewrite(
                status="failed", error=error_record(stage, error), files=None, finished_at=utc_now()
            )
            self.log.note(f"failed ({stage}): {error}")

    def release(self) -> None:
        """The log of a directory that is not kept is whole, and nothing more is written."""
        assert not self.is_kept
        self._closed()

    def _interrupted(self, record: ErrorRecord, finished_at: str | None) -> None:
        self._claimed.rewrite(status="interrupted", error=record, files=None, finished_at=finished_at)
        self.log.note(f"interrupted ({record.stage}): {record.message}")

    def _end(self, status: Status, stage: str, error: BaseException) -> None:
        record = self.manifest.error or error_record(stage, error)
        # What was being written when the error came is held open by its frames, and would change after this.
        traceback.clear_frames(error.__traceback__)
        try:
            if not self._is_closed:
                self._settle(status)
            self._claimed.rewrite(files=self._closed())
        except OSError:
            # a disk that fails here must not hide why the run failed: null hashes are allowed then
            self._claimed.rewrite(status=status, error=record, files=None, finished_at=utc_now())
            return
        self._claimed.seal(status=status, error=record)

    def _settle(self, status: Status) -> None:
        """The manifest says when the run finished, how long it took by its own clock, and what was odd."""
        self._claimed.rewrite(
            finished_at=utc_now(), elapsed_s=self.log.elapsed_s(), console_lost=self.log.console_lost()
        )
        self._claimed.rewrite(findings=self._found(status))

    def _found(self, status: Status) -> tuple[Finding, ...] | None:
        try:
            return derive(OpenedRun(self.root, self.manifest, status, kinds_of, is_sealed=False))
        except (BrokenFile, UserError):
            # What is broken the verifier says; a run that ended in the middle may leave half a file.
            return () if status == "completed" else None

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
