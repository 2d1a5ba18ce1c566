"""A number that training reports at every logged step, described once for files, curves and pages."""

from typing import Literal, NamedTuple

Better = Literal["up", "down", "neither"]
Averaged = Literal["mean", "sum", "max", "last"]


class Metric(NamedTuple):
    """One column of metrics.jsonl that an objective brings.

    `averaged` says how the slices of a batch combine. `mean`: each gives a sum and its weight, and the sums
    are divided by the weights once, at the end, so that no split of the batch changes the figure. `last` is
    for what is the same in every slice, as a coefficient. What is not `is_drawn` is in the files alone. Of a
    batch that has none of what `counted_by`, a count among the metrics, says, there is no such figure.
    """

    name: str
    title: str
    unit: str
    better: Better
    averaged: Averaged
    is_drawn: bool = True
    counted_by: str | None = None
