"""Unlikelihood as a value."""

from functools import partial

from tests.objectives.unlikelihood.batch import Source, extent, shapes
from tests.objectives.unlikelihood.config import ObjectiveConfig
from tests.objectives.unlikelihood.loss import LOSS
from tunix_exp.objectives.objective import Objective


def objective(config: ObjectiveConfig) -> Objective:
    """Likelihood of all responses but those of one category, which are avoided."""
    source = partial(Source, avoid=config.avoid)
    scalars = {"weight": config.weight}
    return Objective(config.name, LOSS, source=source, shapes=shapes, extent=extent, scalars=scalars)
