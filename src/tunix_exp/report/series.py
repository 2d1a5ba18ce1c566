"""What picture and page both need to know of a curve before they draw it."""

import bisect
import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from tunix_exp.evidence.sections import Data, Mixture
from tunix_exp.objectives import registry

_LOG_RATIO = 20.0  # a loss that falls further than this shows its end only on a logarithmic axis
_ROUGH = 0.02
_BETTER = {"up": "higher is better", "down": "lower is better", "neither": ""}

Figures = dict[str, tuple[str, str]]
"""Title and unit of each column that is drawn."""


def objective_figures(config: Mapping[str, Any], rows: Sequence[dict[str, Any]]) -> Figures:
    """What the objective of a recorded config reports, its loss first: of that, what is drawn and in `rows`.

    Beside the unit stands which direction is better; a reader knows that of a loss.
    """
    name = registry.name_in(config)
    figures: Figures = {"loss": ("Loss", "")}
    sets = registry.sets_in(config)
    for metric in registry.metrics(name, sets) if name in registry.PACKAGES else ():
        words = (metric.unit, "" if is_loss(metric.name) else _BETTER[metric.better])
        if metric.is_drawn and (any if metric.counted_by else all)(metric.name in row for row in rows):
            figures[metric.name] = (metric.title, ", ".join(word for word in words if word))
    return figures


def stage_ends(data: Data | Mixture | None) -> list[tuple[str, int]]:
    """The stages of the training data by name, each with its last step; none where it has no stages."""
    stages = data.stages if isinstance(data, Mixture) else {}
    return list(zip(stages, itertools.accumulate(stages.values()), strict=True))


def is_loss(key: str) -> bool:
    """Whether the column is the loss, or that of one set of a mixture."""
    return key == "loss" or key.startswith("loss/")


def falls_far(values: Sequence[float]) -> bool:
    """Whether `values` need a logarithmic axis, and can have one."""
    return min(values) > 0 and max(values) / min(values) > _LOG_RATIO


def is_noisy(values: Sequence[float]) -> bool:
    """Whether the median jump between neighbours hides the course: then a running median shows it."""
    span = max(values) - min(values)
    if median_reach(values) <= 2 or span == 0:
        return False
    return statistics.median(abs(two - one) for one, two in itertools.pairwise(values)) / span > _ROUGH


def median_reach(values: Sequence[float]) -> int:
    """How many neighbours to either side the running median takes in."""
    return max(1, len(values) // 50)


def running_median(values: Sequence[float]) -> list[float]:
    """The median of each value and its neighbours, fewer at the ends."""
    reach = median_reach(values)
    # kept sorted from place to place: sorting each window anew takes minutes on a long run
    window = sorted(values[:reach])
    medians = []
    for place in range(len(values)):
        if place + reach < len(values):
            bisect.insort(window, values[place + reach])
        if place > reach:
            del window[bisect.bisect_left(window, values[place - reach - 1])]
        half = len(window) // 2
        medians.append(window[half] if len(window) % 2 else (window[half - 1] + window[half]) / 2)
    return medians
