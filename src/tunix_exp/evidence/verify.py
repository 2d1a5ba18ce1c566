"""Whether a run directory is what it says: every file re-read, every number computed again.

Needs nothing but the directory: no JAX, no model, no network. Each number stands in places of different
kinds (JSON, text, event records), and each file's hash in three: the manifest, the seal, the board's last
words. Whoever alters one place must alter them all, in the words that the others use.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from tunix_exp.errors import UserError
from tunix_exp.evidence import layout
from tunix_exp.evidence.checks import files, findings, harness, scores, settings, training
from tunix_exp.evidence.manifest import Status, parse_manifest
from tunix_exp.evidence.opened import Check, Disagreement, OpenedRun
from tunix_exp.evidence.strict_json import BrokenFile, read_text

__all__ = ["Disagreement", "runs_below", "verify", "verify_tree"]

# The file that a check speaks of, the files without which it has nothing to compare, and the check.
_FOR_EVERY_STATUS: tuple[tuple[str, tuple[str, ...], Check], ...] = (
    (layout.MANIFEST, (), files.rules),
    (layout.MANIFEST, (), files.presence),
    (layout.MANIFEST, (), files.hashes),
    (layout.SUMS, (), files.seal),
    (layout.TENSORBOARD, (layout.TENSORBOARD,), files.last_words),
    (layout.MANIFEST, (), files.texts),
    (layout.CONFIG, (layout.CONFIG,), settings.config),
    (layout.MANIFEST, (), settings.source_code),
    (layout.REPLAY, (), settings.replay),
    (layout.LOG, (layout.LOG,), training.log),
    (layout.MANIFEST, (), findings.recorded),
)
_FOR_COMPLETED: tuple[tuple[str, tuple[str, ...], Check], ...] = (
    (layout.CONFIG, (layout.CONFIG,), settings.named_twice),
    (layout.EXPORT, (layout.CONFIG,), settings.exported),
    (settings.COMPOSED, (layout.CONFIG, settings.COMPOSED), settings.composed),
    (settings.OVERRIDES, (settings.OVERRIDES, settings.HYDRA), settings.overrides),
    (settings.ENVIRONMENT, (settings.ENVIRONMENT, settings.DEVICE_CHECK), settings.machine),
    (layout.DATA_CARD, (layout.CONFIG, layout.DATA_CARD), settings.data_card),
    (layout.DATA_CARD, (layout.DATA_CARD,), settings.sources),
    (layout.TENSORBOARD, (layout.CONFIG, layout.TENSORBOARD), settings.hparams),
    (layout.METRICS, (layout.CONFIG, layout.METRICS), training.steps),
    (layout.METRICS, (layout.METRICS, layout.PLAN), training.rates),
    (layout.TENSORBOARD, (layout.TENSORBOARD,), training.curves),
    (layout.LOG, (layout.LOG,), training.told),
    (layout.CURVES, (layout.CURVES,), files.picture),
    (layout.BASE_PREDICTIONS, (layout.CONFIG, layout.BASE_PREDICTIONS), scores.items),
    (layout.BASE_PREDICTIONS, (layout.CONFIG, layout.BASE_PREDICTIONS), scores.base_predictions),
    (
        layout.TRAINED_PREDICTIONS,
        (layout.BASE_PREDICTIONS, layout.TRAINED_PREDICTIONS),
        scores.trained_predictions,
    ),
    (layout.MANIFEST, (layout.CONFIG, layout.BASE_PREDICTIONS), scores.baseline),
    (layout.BASE_LOSSES, scores.BASE, scores.base_losses),
    (layout.TRAINED_LOSSES, (layout.CONFIG, layout.BASE_LOSSES, *scores.TRAINED), scores.trained_losses),
    (layout.EVAL_SUMMARY, (layout.CONFIG, layout.EVAL_SUMMARY, *scores.BASE), scores.summary),
    (layout.BASE_SAMPLES, harness.BASE, harness.base),
    (layout.TRAINED_SAMPLES, (*harness.BASE, *harness.TRAINED), harness.trained),
    (layout.HARNESS_SUMMARY, (layout.CONFIG, layout.HARNESS_SUMMARY, *harness.BASE), harness.summary),
)


def verify(run: Path, *, as_status: Status | None = None) -> list[Disagreement]:
    """Everything in which the run directory contradicts itself; empty when it holds.

    `as_status` asks whether the run could claim that status, whatever its manifest says: the run's own last
    question, before it is sealed.
    """
    if not run.is_dir():
        raise UserError(
            "there is no run directory", where=str(run), remedy="name a directory that a run has made"
        )
    try:
        manifest = parse_manifest(read_text(run / layout.MANIFEST, file=layout.MANIFEST))
    except FileNotFoundError:
        return [Disagreement(layout.MANIFEST, "is missing: no run has claimed this directory")]
    except UserError as error:
        return [Disagreement(layout.MANIFEST, error.what)]
    status = manifest.status if as_status is None else as_status
    if status == "running":
        return [Disagreement(layout.MANIFEST, "the run did not finish: its status is still `running`")]
    return list(dict.fromkeys(_checked(OpenedRun(run, manifest, status, is_sealed=as_status is None))))


def verify_tree(path: Path) -> dict[Path, list[Disagreement]]:
    """What `verify` says of every run at or below `path`, in order of their paths.

    A folder in which Hydra started a job that never claimed it counts as a run, and disagrees.
    """
    runs = list(runs_below(path)) if path.is_dir() else []
    if not runs:
        raise UserError(
            "there is no run directory at or below the path",
            where=str(path),
            remedy="name a run directory, or a directory of runs such as outputs/NAME or multirun/NAME",
        )
    return {run: verify(run) for run in runs}


def runs_below(path: Path) -> Iterator[Path]:
    """Every run directory at or below `path`, sorted; a folder that Hydra alone has touched counts."""
    for folder, names, found in os.walk(path):
        names.sort()
        if layout.MANIFEST in found or ".hydra" in names:
            names.clear()
            yield Path(folder)


def _checked(run: OpenedRun) -> Iterator[Disagreement]:
    checks = _FOR_EVERY_STATUS + (_FOR_COMPLETED if run.status == "completed" else ())
    for file, needed, check in checks:
        if not all(run.has(name) for name in needed):
            continue  # that it is missing has been said already
        try:
            yield from check(run)
        except BrokenFile as broken:
            yield Disagreement(broken.file, broken.finding)
        except UserError as error:
            yield Disagreement(file, error.what if error.where is None else f"{error.where}: {error.what}")
