"""The code that ran: its commit, what differed from it as a patch, and the lock of its packages."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

from tunix_exp.errors import UserError
from tunix_exp.evidence.layout import file_digest
from tunix_exp.evidence.sections import Code

PACKAGE = "tunix-exp"
MOST_PATCH_BYTES = 5 * 2**20

_TIMEOUT_S = 120
# Whatever the user's own git is set to, the patch must be one that `git apply` takes.
_PLAIN = ("--binary", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/",
          "--dst-prefix=b/")  # fmt: skip
# An untracked file above this (weights, archives) is named by its size: a run begins at once.
_MOST_HASHED_BYTES = 2**26


@dataclass(frozen=True, slots=True)
class GitState:
    """The commit, and what leads from it to the checkout; `patch` is empty when nothing differs."""

    commit: str
    patch: bytes


@dataclass(frozen=True, slots=True)
class SourceCode:
    """The manifest's record of the code, with the patch and the lock file that it has the hashes of.

    Of the patch it has the hash of what is `of_code`.
    """

    record: Code
    patch: bytes
    lock: bytes | None


def source_code(package: Path) -> SourceCode:
    """The code whose package lies in the folder `package`: in a checkout, or installed without one."""
    top = package.parents[1]
    state = git_state(package, sources=(package, top / "conf"))
    # beside the sources in a checkout; an installed package has none
    lock_file = top / "uv.lock"
    lock = lock_file.read_bytes() if lock_file.is_file() else None
    patch = b"" if state is None else state.patch
    changes = of_code(patch)
    record = Code(
        version=metadata.version(PACKAGE),
        git_commit=None if state is None else state.commit,
        git_dirty=None if state is None else bool(changes),
        git_diff_sha256=hashlib.sha256(changes).hexdigest() if changes else None,
        lock_sha256=None if lock is None else hashlib.sha256(lock).hexdigest(),
    )
    return SourceCode(record, patch, lock)


def of_code(patch: bytes) -> bytes:
    """The patch without the lines that name files which are no code.

    A log that grows beside the code changes nothing that is computed: the code is the same with it.
    """
    return re.sub(rb"\A(?:untracked .*\n)+", b"", patch)


def refuse_large(patch: bytes) -> None:
    """The patch is small enough to keep; else a `UserError` names the files that make it large."""
    if len(patch) <= MOST_PATCH_BYTES:
        return
    parts = re.split(rb"^diff --git a/", patch, flags=re.MULTILINE)[1:]
    largest = sorted(parts, key=len, reverse=True)[:3]
    names = [part.splitlines()[0].split(b" b/")[0].decode("utf-8", "replace") for part in largest]
    raise UserError(
        f"the checkout differs from its commit by {len(patch) / 2**20:.1f} MiB, and a run keeps at most "
        f"{MOST_PATCH_BYTES // 2**20} MiB of patch; largest: {', '.join(names)}",
        where="git",
        remedy="commit the change, or put aside what does not belong to the run (git stash)",
    )


def git_state(root: Path, *, sources: Sequence[Path]) -> GitState | None:
    """The state of the checkout that tracks `root`; `None` where git, a checkout or a commit is missing.

    The patch holds every change of a tracked file, and every untracked file below `sources` whole. Any other
    untracked file may be private: a line before the patch names it with its hash, which `git apply` skips.
    A package installed inside somebody else's checkout is not tracked by it: that commit is not its own.
    """
    if shutil.which("git") is None or not root.is_dir():
        return None
    tracked = _git(root, "ls-files", "--", ".")
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    top = _git(root, "rev-parse", "--show-toplevel")
    if not tracked or commit is None or top is None:
        return None
    folder = Path(os.fsdecode(top.rstrip(b"\n")))
    listed = _told(root, "ls-files", "--others", "--exclude-standard", "--full-name", "-z", ":/")
    untracked = [os.fsdecode(name) for name in listed.split(b"\0") if name]
    inside = [source.resolve() for source in sources]
    ours = [name for name in untracked if any((folder / name).absolute().is_relative_to(s) for s in inside)]
    others = [name for name in untracked if name not in ours]
    named = "".join(_untracked(folder / name, name) for name in others).encode("utf-8", "replace")
    return GitState(commit.decode().strip(), named + _patch(root, ours))


def _patch(root: Path, untracked: Sequence[str]) -> bytes:
    """The change from the commit to the checkout, with `untracked` as new files.

    They are added to a copy of the index: neither the user's index nor the objects are touched.
    """
    if not untracked:
        return _told(root, "diff", "HEAD", *_PLAIN)
    index = os.fsdecode(_told(root, "rev-parse", "--path-format=absolute", "--git-path", "index"))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "index"
        # with its time: git looks into a file again that changed in the second in which the index was written
        shutil.copy2(index.rstrip("\n"), copy)
        environment = {"GIT_INDEX_FILE": str(copy)}
        for name in untracked:
            _told(root, "add", "--intent-to-add", "--", f":(top,literal){name}", environ=environment)
        return _told(root, "diff", "HEAD", *_PLAIN, environ=environment)


def _told(root: Path, *words: str, environ: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """What git answers; in a checkout that has a commit it must, or the code would go unrecorded."""
    said = _git(root, *words, environ=environ)
    if said is None:
        raise UserError(
            f"git does not tell how the checkout differs from its commit: `git {' '.join(words[:2])}` failed",
            where=str(root),
            remedy="run it there yourself and mend what it says; a run records the code that it ran",
        )
    return said


def _git(root: Path, *words: str, environ: Mapping[str, str] = MappingProxyType({})) -> bytes | None:
    # the lock is for commands that write; taking it could disturb the user's own git
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", **environ}
    command = ["git", "-C", str(root), *words]
    try:
        return subprocess.run(
            command, capture_output=True, timeout=_TIMEOUT_S, check=True, env=environment
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def _untracked(path: Path, name: str) -> str:
    if path.is_symlink() or not path.is_file():
        mark = "-" * 64
    elif path.stat().st_size > _MOST_HASHED_BYTES:
        mark = f"{path.stat().st_size} bytes".center(64, "-")
    else:
        mark = file_digest(path)
    one_line = name.replace("\n", "\\n")
    return f"untracked {mark} {one_line}\n"
