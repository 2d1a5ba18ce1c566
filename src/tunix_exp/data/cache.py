"""What was read and tokenised, found again by content: of large files on disk, of small ones in the process.

On disk it lies in the folder that `TUNIX_EXP_CACHE` names, else in `tunix_exp` of the user's cache folder; an
empty `TUNIX_EXP_CACHE` keeps nothing there. Of small files the newest stay in memory, for the next job of a
sweep.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from tunix_exp.errors import UserError

# Raised with every change of what is kept, or of how it is made.
_VERSION = 1
_LEAST_BYTES = 2**24
_WHOLE = "whole.json"
# The examples and the tokens of a training set and of the held-out items.
_MOST_IN_MEMORY = 4

_Made = TypeVar("_Made")
_in_memory: dict[str, Any] = {}


def folder_for(files: list[Path], *settings: Any) -> Path | None:
    """Where what is made of these files with these settings is kept; None of files that are not kept."""
    root = _root()
    if root is None or not files or sum(file.stat().st_size for file in files) < _LEAST_BYTES:
        return None
    content = [[str(file), _digest(file)] for file in files]
    return root / _key([_VERSION, content, *settings])


def folder_within(folder: Path | None, *settings: Any) -> Path | None:
    """Where what is made of a folder's content is kept, beside it."""
    return None if folder is None else folder.parent / _key([_VERSION, folder.name, *settings])


def key_for(files: list[Path], *settings: Any) -> str | None:
    """The key of what is made of these files with these settings; None of what is too large for memory.

    Without files the settings name what never changes.
    """
    if sum(file.stat().st_size for file in files) >= _LEAST_BYTES:
        return None
    return _key([[[str(file), _digest(file)] for file in files], *settings])


def key_within(key: str | None, *settings: Any) -> str | None:
    """The key of what is made of that which has `key`, with these settings; None of what has none."""
    return None if key is None else _key([key, *settings])


def in_memory(key: str | None, make: Callable[[], _Made]) -> _Made:
    """What was made for the key in this process, where it is one of the last few, else what `make` makes."""
    if key is None:
        return make()
    made = _in_memory.pop(key) if key in _in_memory else make()
    _in_memory[key] = made  # the newest is the last
    for old in list(_in_memory)[:-_MOST_IN_MEMORY]:
        del _in_memory[old]
    return made


def is_whole(folder: Path) -> bool:
    """Whether all is there, each file as it was written."""
    try:
        files = json.loads((folder / _WHOLE).read_text(encoding="utf-8"))
        return all(_digest(folder / name) == digest for name, digest in files.items())
    except (OSError, ValueError):
        return False


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """A folder to write into, which is `folder` once the block has ended well; nothing is left otherwise."""
    made = folder.with_name(f"{folder.name}.{os.getpid()}")
    try:
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        yield made
        digests = {file.name: _digest(file) for file in sorted(made.iterdir())}
        (made / _WHOLE).write_text(json.dumps(digests), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(FileExistsError):  # somebody else has just made the same
            made.rename(folder)
    except OSError as error:
        raise UserError(
            f"the cache of read data cannot be written: {error.strerror or error}",
            where=str(folder.parent),
            remedy="free space there, or name another folder: TUNIX_EXP_CACHE=FOLDER (empty: in memory)",
        ) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _root() -> Path | None:
    named = os.environ.get("TUNIX_EXP_CACHE")
    if named is not None:
        return Path(named).expanduser() / "data" if named else None
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else Path.home() / ".cache") / "tunix_exp" / "data"


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _key(settings: list[Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]
