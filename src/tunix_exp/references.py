"""One string that says where something comes from.

random                                  weights drawn from the seed
data                                    held-out items: rows of the training set
bundled:NAME                            shipped inside the package
hub:ORG/NAME@REVISION[#SUBSET/SPLIT]    a Hugging Face repository, pinned
anything else                           a path, relative to where the command was typed
"""

import errno
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from tunix_exp.errors import UserError
from tunix_exp.json_text import printable
from tunix_exp.schema import refuse_unprintable

_MOST_SHOWN = 60
_HELD_OUT_ROWS = "data"

_HUB = re.compile(
    r"hub:(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>[\w./-]+?)(#(?P<subset>[\w.-]+)/(?P<split>[\w.-]+))?"
)


@dataclass(frozen=True, slots=True)
class Random:
    """Drawn from the run's seed."""


@dataclass(frozen=True, slots=True)
class Bundled:
    """Shipped inside the package under `name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Hub:
    """A Hugging Face repository at a pinned revision; data sets name a subset and a split."""

    repo: str
    revision: str
    subset: str | None
    split: str | None


@dataclass(frozen=True, slots=True)
class Local:
    """A file or folder on this machine."""

    path: Path


@dataclass(frozen=True, slots=True)
class HeldOutRows:
    """The rows of the training set that are held out."""


Reference = Random | Bundled | Hub | Local | HeldOutRows


def parse(text: str, *, key: str) -> Reference:
    """The reference that `text` is; `key` is the config key that errors name."""
    if text == "random":
        return Random()
    if text == _HELD_OUT_ROWS:
        return HeldOutRows()
    if text.startswith("bundled:"):
        return Bundled(text.removeprefix("bundled:"))
    if text.startswith("hub:"):
        found = _HUB.fullmatch(text)
        if found is None:
            raise UserError(
                f"`{text}` is not a pinned Hub reference",
                where=key,
                remedy="write hub:ORG/NAME@REVISION (a commit is best), for data sets with #SUBSET/SPLIT",
            )
        return Hub(**found.groupdict())
    if not text:
        raise UserError("the reference is empty", where=key, remedy="name a path, hub:…, bundled:… or random")
    return Local(_path(text, key))


def no_place_of(key: str) -> UserError:
    """The refusal of `data` as the value of any key but `eval.source`."""
    return UserError(
        "`data` means the held-out rows of the training set, which eval.source alone can name",
        where=key,
        remedy="write ./data for a file or folder of that name",
    )


def _path(text: str, key: str) -> Path:
    """The path that `text` names, which the system can be asked for."""
    try:
        path = Path(text).expanduser()
        with suppress(PermissionError):  # of a folder closed to us; told where the path is opened
            path.exists()
    # A user who does not exist, a name too long, half a character.
    except (RuntimeError, OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        shown = text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
        raise UserError(
            f"`{printable(shown)}` names nothing that can be looked for: {what}",
            where=key,
            remedy="mend the path",
        ) from error
    return path


def _place(value: str) -> str:
    """`value`, a path that the system can look at; whether anything is there is asked by who reads it."""
    if not value.strip():
        raise ValueError("the path is empty: name one, or null where the key allows it")
    refuse_unprintable(value, allowed="")
    shown = value if len(value) <= _MOST_SHOWN else f"{value[:_MOST_SHOWN]}…"
    try:
        os.stat(Path(value).expanduser())
    except FileNotFoundError:
        pass
    except (OSError, RuntimeError) as error:  # the latter of ~ and a user who is not there
        raise ValueError(f"`{shown}` names nothing that can be looked for: {_why(error)}") from None
    return value


def _why(error: OSError | RuntimeError) -> str:
    remedies = {
        errno.ENAMETOOLONG: "shorten it",
        errno.ELOOP: "its links lead in a circle; name the place itself",
        errno.EACCES: "a folder on the way may not be entered; change its permissions, or name another",
        errno.ENOTDIR: "a part of it that is followed by more is a file",
    }
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    return f"{error.strerror}; {remedies[error.errno]}" if error.errno in remedies else error.strerror


def _reference(value: str) -> str:
    """`value`, a reference in one of its forms."""
    if value == _HELD_OUT_ROWS:
        refusal = no_place_of("")
        raise ValueError(f"{refusal.what}: {refusal.remedy}")
    if value != "random" and not value.startswith(("bundled:", "hub:")):
        return _place(value)
    refuse_unprintable(value, allowed="")
    try:
        parse(value, key="")
    except UserError as error:
        raise ValueError(f"{error.what}: {error.remedy}") from None
    return value


def _items_reference(value: str) -> str:
    return value if value == _HELD_OUT_ROWS else _reference(value)


Place = Annotated[str, AfterValidator(_place)]
"""A path in a config."""

ReferenceText = Annotated[str, AfterValidator(_reference)]
"""A reference in a config."""

ItemsReferenceText = Annotated[str, AfterValidator(_items_reference)]
"""A reference in a config, or `data`."""
