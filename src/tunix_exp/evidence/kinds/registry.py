"""The kinds of evidence that there are: whatever reads a run walks this list."""

from collections.abc import Callable, Mapping
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
    origin,
    pages,
    plan,
    predictions,
    replay,
    seal,
    source,
    stages,
    tensorboard,
)
from tunix_exp.evidence.kinds.kind import Kind
from tunix_exp.objectives import registry as objectives

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
    origin.KIND,
    source.PATCH,
    source.LOCK,
    replay.KIND,
    pages.FAILURE_ANALYSIS,
    composed.KIND,
    folders.CHECKPOINTS,
    folders.EXPORT,
    folders.HOST_LOGS,
    stages.KIND,
    tensorboard.KIND,
)


def kinds_of(config: Mapping[str, Any]) -> tuple[Kind, ...]:
    """The kinds that a run of this config may have: those of its objective come last."""
    return (*KINDS, *objectives.kinds(objectives.name_in(config)))


def described() -> str:
    """The kinds as a table in Markdown: the file, what it holds, and what is checked of it."""
    lines = ["| file | holds | checked | noticed |", "| --- | --- | --- | --- |"]
    for kind in KINDS:
        checked = " ".join(map(_sentence, (*kind.at_any_end, *kind.integrity)))
        noticed = " ".join(map(_sentence, kind.sanity))
        lines.append(f"| `{kind.path}` | {kind.holds} | {checked} | {noticed} |")
    return "\n".join(lines) + "\n"


def _sentence(check: Callable[..., Any]) -> str:
    return (check.__doc__ or "").partition("\n")[0]
