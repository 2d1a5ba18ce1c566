"""One job of a sweep as its run directory shows it: settings, status, figures, answers item by item."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tunix_exp.errors import UserError
from tunix_exp.evidence.kinds import config, eval_summary, harness, item_losses, metrics, predictions
from tunix_exp.evidence.kinds.read import object_if_any, plain_lines, read_rows
from tunix_exp.evidence.layout import MANIFEST
from tunix_exp.evidence.manifest import RunManifest, read_manifest
from tunix_exp.evidence.sections import HarnessEval, ItemsEval
from tunix_exp.evidence.strict_json import read_json_object
from tunix_exp.scoring.harness import marks
from tunix_exp.scoring.paired import ItemLoss, Marked
from tunix_exp.scoring.verdicts import verdict_on
from tunix_exp.sweep.config import MetricName

NO_MANIFEST = "no manifest"
# Where attempts at a job lie that another has taken the place of.
EARLIER = "attempts"
_BEFORE = "the job ended before its run started"

Values = dict[MetricName, float | None]


@dataclass(frozen=True, slots=True)
class Figures:
    """What a completed run gave; what it did not compute is `None`, or empty.

    `items` tells which items were answered, `marks` (of each metric that is a share, whether each item is
    right) and `losses` are of the model that the run ends with, and `over_base` is its score less that of the
    base model.
    """

    values: Mapping[MetricName, float | None]
    items: tuple[object, ...] | None = None
    over_base: float | None = None
    marks: Mapping[MetricName, tuple[bool, ...]] = field(default_factory=dict)
    losses: tuple[ItemLoss, ...] = ()
    resamples: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job: its number, the settings that its words give, the directory of its run, and how that ended."""

    number: int
    settings: Mapping[str, str]
    directory: str | None
    status: str
    error: Mapping[str, str] | None = None
    seed: int | None = None
    elapsed_s: float | None = None
    is_regressed: bool = False
    figures: Figures = field(default_factory=lambda: Figures({}))

    @property
    def is_completed(self) -> bool:
        """Whether the run's own verifier found nothing: no other run has figures."""
        return self.status == "completed"


def settings_of(words: Sequence[str]) -> dict[str, str]:
    """The words of a command by their keys."""
    pairs = (word.lstrip("+~").partition("=") for word in words)
    return {key: value for key, _, value in pairs}


def read_job(number: int, settings: Mapping[str, str], root: Path, directory: str) -> Job:
    """The job whose run lies in `directory` below `root`, the sweep's own."""
    run = root / directory
    if not (run / MANIFEST).is_file():
        return Job(number, settings, directory, NO_MANIFEST, told("launch", _BEFORE))
    figures = Figures({})
    try:
        manifest = read_manifest(run)
        if manifest.status == "completed":
            figures = _figures(run, (run / MANIFEST).stat().st_mtime_ns)
    except UserError as error:
        return Job(number, settings, directory, "unreadable", told("reading", error.what))
    error = manifest.error and told(manifest.error.stage, manifest.error.message)
    return Job(
        number,
        settings,
        directory,
        manifest.status,
        error,
        manifest.seed,
        manifest.elapsed_s,
        manifest.verdict == "regressed",
        figures,
    )


def told(stage: str, message: str) -> dict[str, str]:
    """What ended a job, in one line, and in which stage."""
    return {"stage": stage, "message": " ".join(message.split())}


@functools.lru_cache(maxsize=1024)
def _figures(run: Path, _changed_ns: int) -> Figures:
    """The figures of a completed run, which nothing changes any more."""
    manifest, steps = read_manifest(run), plain_lines(metrics.KIND, run)
    summary, tasks = object_if_any(eval_summary.KIND, run), object_if_any(harness.SUMMARY, run)
    training = steps[-1]["loss"] if steps else _last_loss_before(run, manifest)
    if tasks is not None:
        rows = read_rows(harness.TRAINED_SAMPLES, run) or read_rows(harness.BASE_SAMPLES, run)
        found = tasks["comparison"]
        score = tasks["base_accuracy"] if found is None else found["trained_accuracy"]
        values: Values = {"primary_score": score, "training_loss": training}
        return _with_answers(run, manifest, marks(rows, tasks["primary"]), (), values)
    if summary is None:
        return Figures({"training_loss": training})
    last = "base" if summary["trained"] is None else "trained"
    answers = {"base": predictions.BASE, "trained": predictions.TRAINED}[last]
    losses = {"base": item_losses.BASE, "trained": item_losses.TRAINED}[last]
    rows = read_rows(answers, run)
    values: Values = {
        "primary_score": summary[last]["primary_score"],
        "heldout_loss_nats": summary[last]["heldout_loss_nats"],
        "training_loss": training,
    }
    said = [verdict_on(one.question or "", one.output) for one in rows]
    right = tuple(one.is_right for one in said if one is not None)
    if len(right) != len(rows):
        return _with_answers(run, manifest, rows, tuple(read_rows(losses, run)), values)
    values["verdict_accuracy"] = sum(right) / len(right)
    figures = _with_answers(run, manifest, rows, tuple(read_rows(losses, run)), values)
    return replace(figures, marks={**figures.marks, "verdict_accuracy": right})


def _last_loss_before(run: Path, manifest: RunManifest) -> float | None:
    """The loss of the last step where an earlier attempt at the job had taken it."""
    parent = manifest.resumed_from
    if parent is None or not manifest.took_no_step:
        return None
    for place in run.parent.glob(f"{EARLIER}/*"):
        if (place / MANIFEST).is_file() and read_manifest(place).run_id == parent.run_id:
            steps = plain_lines(metrics.KIND, place)
            return steps[-1]["loss"] if steps else None
    return None


def _with_answers(
    run: Path,
    manifest: RunManifest,
    answers: Sequence[Marked],
    losses: tuple[ItemLoss, ...],
    values: Values,
) -> Figures:
    plain: dict[str, Any] = read_json_object(run / config.KIND.path, file=config.KIND.path)
    asked = manifest.eval
    source = asked.sha256 if isinstance(asked, ItemsEval | HarnessEval) else None
    return Figures(
        values,
        items=(source, *(one.id for one in answers)),
        over_base=None if manifest.headline is None else manifest.headline.difference,
        marks={"primary_score": tuple(one.correct for one in answers)},
        losses=losses,
        resamples=plain["eval"]["resamples"],
    )
