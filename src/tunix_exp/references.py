"""One string that says where something comes from.

random                                  weights drawn from the seed
bundled:NAME                            shipped inside the package
hub:ORG/NAME@REVISION[#SUBSET/SPLIT]    a Hugging Face repository, pinned
anything else                           a path, relative to where the command was typed
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tunix_exp.errors import UserError
from tunix_exp.json_text import printable

_MOST_SHOWN = 60

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


Reference = Random | Bundled | Hub | Local


def parse(text: str, *, key: str) -> Reference:
    """The reference that `text` spells; `key` is the config key that errors name."""
    if text == "random":
        return Random()
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


def _path(text: str, key: str) -> Path:
    """The path that `text` spells, which the system can be asked for."""
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
