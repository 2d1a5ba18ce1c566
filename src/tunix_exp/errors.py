"""Faults that a user can mend, and how they are told."""


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
