"""The kinds of evidence that there are: whatever reads a run walks this list."""

from collections.abc import Mapping
from typing import Any

from tunix_exp.evidence.kinds import (
    composed,
    config,
    data_card,
    eval_summary,
    folders,
    harness,
    heldout,
    item_losses,
    manifest,
    metrics,
    pages,
    plan,
    predictions,
    replay,
    seal,
    source,
    tensorboard,
)
from tunix_exp.evidence.kinds.kind import Kind

# In the order in which a reader is told of them.
KINDS: tuple[Kind, ...] = (
    manifest.KIND,
    seal.KIND,
    pages.README,
    pages.REPORT,
    pages.CURVES,
    eval_summary.KIND,
    predictions.BASE,
    predictions.TRAINED,
    predictions.BASELINE,
    item_losses.BASE,
    item_losses.TRAINED,
    harness.SUMMARY,
    harness.BASE,
    harness.TRAINED,
    harness.BASE_SAMPLES,
    harness.TRAINED_SAMPLES,
    metrics.KIND,
    heldout.KIND,
    data_card.KIND,
    pages.EXAMPLE,
    plan.KIND,
    pages.DEVICE_CHECK,
    pages.ENVIRONMENT,
    pages.TRAINING_LOG,
    config.KIND,
    source.PATCH,
    source.LOCK,
    replay.KIND,
    pages.FAILURE_ANALYSIS,
    composed.KIND,
    folders.CHECKPOINTS,
    folders.EXPORT,
    tensorboard.KIND,
)


def kinds_of(config: Mapping[str, Any]) -> tuple[Kind, ...]:
    """The kinds that a run of this config may have."""
    return KINDS


def kind_of(file: str, kinds: tuple[Kind, ...] = KINDS) -> Kind | None:
    """The kind that a file of a run is of; `None` for a file that this version does not make."""
    return next((kind for kind in kinds if kind.has(file)), None)
