"""`claims/`: who runs each job of a sweep, one file an attempt; a file is made by one process alone.

An attempt is claimed by whoever makes its file first (a hard link, which fails where the name is taken, and
is whole when it is there). A claim holds while the process that made it lives, or one that runs the job for
it. Whether a process on another machine lives, nobody here can tell: its claim holds.
"""

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from tunix_exp.evidence.strict_json import json_text
from tunix_exp.schema import Config

FOLDER = "claims"
_NAME = re.compile(r"(\d+)\.(\d+)(\.worker)?\.json")
# The start of a process is told to a hundredth of a second, by a clock that may be set.
_SAME_START_S = 2.0


class Process(Config):
    """A process: where it runs, its number, and when it was started, as numbers are used again."""

    host: str
    pid: int
    started_s: float

    @classmethod
    def own(cls) -> "Process":
        """The process that asks."""
        import psutil

        return cls(host=socket.gethostname(), pid=os.getpid(), started_s=psutil.Process().create_time())

    @property
    def is_elsewhere(self) -> bool:
        """Whether it runs on another machine."""
        return self.host != socket.gethostname()

    @property
    def is_own(self) -> bool:
        """Whether it is this process."""
        return self.pid == os.getpid() and not self.is_elsewhere

    @property
    def may_live(self) -> bool:
        """Whether it lives, or nobody here can tell."""
        import psutil

        if self.is_elsewhere:
            return True
        try:
            found = psutil.Process(self.pid)
            is_same = abs(found.create_time() - self.started_s) < _SAME_START_S
            return is_same and found.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def describe(self) -> str:
        """Where it runs, for a reader."""
        return f"process {self.pid} on {self.host}"


class Claim(Config):
    """The newest attempt at a job, and the processes that hold it: who claimed it, and who runs it."""

    attempt: int
    holders: tuple[Process, ...]

    @property
    def holder(self) -> Process | None:
        """The process that holds it still."""
        return next((one for one in self.holders if one.may_live), None)

    @property
    def other_holder(self) -> Process | None:
        """The process that holds it still, this one aside."""
        return next((one for one in self.holders if one.may_live and not one.is_own), None)


def newest(root: Path) -> dict[int, Claim]:
    """The newest claim of each job of the sweep in `root`."""
    found: dict[int, Claim] = {}
    for number, attempt, process in sorted(_all(root), key=lambda one: one[:2]):
        before = found.get(number)
        held = before.holders if before is not None and before.attempt == attempt else ()
        found[number] = Claim(attempt=attempt, holders=(*held, process))
    return found


def take(root: Path, number: int, attempt: int) -> bool:
    """Whether this process is the one that has the attempt at the job."""
    return _made(root / FOLDER / f"{number}.{attempt}.json")


def hold(root: Path, number: int) -> None:
    """The newest attempt at the job is held by this process too, whoever claimed it."""
    claim = newest(root).get(number)
    if claim is not None and not any(one.is_own for one in claim.holders):
        _made(root / FOLDER / f"{number}.{claim.attempt}.worker.json")


def _made(file: Path) -> bool:
    file.parent.mkdir(exist_ok=True)
    whole = file.with_name(f".{file.name}.{socket.gethostname()}.{os.getpid()}")
    whole.write_text(json_text(Process.own().model_dump(), file=file.name), encoding="utf-8")
    try:
        os.link(whole, file)
    except FileExistsError:
        return False
    finally:
        whole.unlink()
    return True


def _all(root: Path) -> Iterator[tuple[int, int, Process]]:
    folder = root / FOLDER
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = _NAME.fullmatch(file.name)
        if name is not None:
            try:
                process = Process.model_validate_json(file.read_text(encoding="utf-8"))
            except (OSError, ValidationError):
                continue
            yield int(name[1]), int(name[2]), process
