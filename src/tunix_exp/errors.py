"""Faults that a user can mend, and how they are told."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A fault of input or surroundings: what is wrong, where, and the remedy.

    Anything else that escapes is a defect of this package and keeps its traceback.
    """

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        """Keep the three parts apart, so that each can be shown and tested on its own."""
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        """One to three lines: what, where, remedy."""
        lines = [self.what]
        if self.where is not None:
            lines.append(f"  where: {self.where}")
        if self.remedy is not None:
            lines.append(f"  remedy: {self.remedy}")
        return "\n".join(lines)


class NonFinite(UserError):
    """A loss, a gradient or a logit is NaN or infinite."""


class Interrupted(Exception):
    """The run was asked to stop, and stopped with its state saved."""


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known name that is most like `name`, where one is as alike as `cutoff` (0 to 1)."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)), None)


def did_you_mean(*names: str | None) -> str:
    """A question that ends a complaint and names the near names; nothing where there are none."""
    near = " or ".join(f"`{name}`" for name in dict.fromkeys(names) if name is not None)
    return f" — did you mean {near}?" if near else ""
