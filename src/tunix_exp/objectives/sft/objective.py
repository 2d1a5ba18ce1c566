"""Supervised fine-tuning as a value."""

from tunix_exp.objectives.objective import Objective
from tunix_exp.objectives.sft.batch import Source, extent, mixed_shapes, shapes
from tunix_exp.objectives.sft.config import ObjectiveConfig
from tunix_exp.objectives.sft.loss import loss_of


def objective(config: ObjectiveConfig, sets: tuple[str, ...] = ()) -> Objective:
    """Cross-entropy on the responses; of a mixture also that of each of its sets."""
    return Objective(
        name=config.name,
        loss=loss_of(sets),
        source=Source,
        shapes=mixed_shapes if sets else shapes,
        extent=extent,
    )
