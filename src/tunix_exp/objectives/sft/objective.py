"""Supervised fine-tuning as a value."""

from tunix_exp.objectives.objective import Objective
from tunix_exp.objectives.sft.batch import Source, extent, shapes
from tunix_exp.objectives.sft.config import ObjectiveConfig
from tunix_exp.objectives.sft.loss import LOSS


def objective(config: ObjectiveConfig) -> Objective:
    """Cross-entropy on the responses."""
    return Objective(name=config.name, loss=LOSS, source=Source, shapes=shapes, extent=extent)
