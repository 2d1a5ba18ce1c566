"""What ended a run, as its manifest records it."""

import traceback
from pathlib import Path

from tunix_exp.errors import UserError
from tunix_exp.evidence.sections import ErrorRecord
from tunix_exp.evidence.surroundings import without_home


def error_record(stage: str, error: BaseException) -> ErrorRecord:
    """The error of `stage`, with its place and remedy where it has them; the home folder is written `~`."""
    if isinstance(error, UserError):
        message, where, remedy = error.what, error.where, error.remedy
    else:
        message, where, remedy = str(error), _place(error), None
    return ErrorRecord(
        stage=stage,
        type=type(error).__name__,
        message=without_home(message) or type(error).__name__,
        where=None if where is None else without_home(where),
        remedy=remedy,
    )


def _place(error: BaseException) -> str | None:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return None
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}, in {frames[-1].name}"
