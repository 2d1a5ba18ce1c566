"""One string that says where something comes from.

random                                  weights drawn from the seed
bundled:NAME                            shipped inside the package
hub:ORG/NAME@REVISION[#SUBSET/SPLIT]    a Hugging Face repository, pinned
anything else                           a path, relative to where the command was typed
"""

import re
from dataclasses import dataclass
from pathlib import Path

from tunix_exp.errors import UserError

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
    return Local(Path(text).expanduser())
