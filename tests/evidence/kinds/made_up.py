"""A kind of evidence that the package does not have: how many rows each epoch drew, and how many in all."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from tunix_exp.evidence.kinds.kind import Compared, Disagreement, Kind, Line, when_trained
from tunix_exp.evidence.opened import OpenedRun
from tunix_exp.evidence.sections import Finding


class Epoch(Line):
    """After `step` updates an epoch ended: the rows that it drew, and those of all so far."""

    step: Annotated[int, Field(ge=1)]
    rows: int
    rows_in_all: int


def _add_up(run: OpenedRun) -> Iterator[Disagreement]:
    """The rows of all epochs so far are the sum of each."""
    total = 0
    for row in run.lines(KIND):
        total += row["rows"]
        if row["rows_in_all"] != total:
            what = f"step {row['step']}: `rows_in_all` is {row['rows_in_all']}, the epochs give {total}"
            yield Disagreement(KIND.path, what)


def _idle(run: OpenedRun) -> Iterator[Finding]:
    """An epoch that drew nothing."""
    for row in run.lines(KIND):
        if not row["rows"]:
            where = f"{KIND.path}, step {row['step']}"
            yield Finding(code="idle epoch", where=where, sentence="it drew no row")


KIND = Kind(
    path="epochs.jsonl",
    name="epochs",
    holds="the rows that each epoch drew",
    when=when_trained,
    schema=Epoch,
    is_appended=True,
    curves="epochs/",
    integrity=(_add_up,),
    sanity=(_idle,),
    compared=(Compared("step", names={"rows": "rows of an epoch"}),),
)
