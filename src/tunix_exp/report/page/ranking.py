"""Which of several runs did best, and whether the others are shown to be behind."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from tunix_exp.errors import UserError
from tunix_exp.numbers import enumerated, interval_in_points, percent, points
from tunix_exp.report.comparison import CONFIDENCE
from tunix_exp.report.page.record import Record, read_record
from tunix_exp.scoring.paired import LEVEL, Flips, accuracy_interval, mcnemar_p
from tunix_exp.sweep.job import Job, read_job, told

# With more settings than this the first sentence names none.
_MOST_NAMED = 6


@dataclass(frozen=True, slots=True)
class Entrant:
    """A run, the name that tells it from the others, how it ended, and its files if they can be read."""

    root: Path
    name: str
    job: Job
    record: Record | None

    @property
    def score(self) -> float | None:
        """The primary score of a completed run."""
        return None if self.record is None else self.job.figures.values.get("primary_score")


class Gap(NamedTuple):
    """A run's score less the best one's on the same items, its 95 % CI, and whether that is shown."""

    difference: float
    interval: str
    is_shown: bool


def ranked(runs: Sequence[Path]) -> list[Entrant]:
    """Best score first; runs without one after them, both in their own order."""
    entrants = [_entrant(root, name) for root, name in zip(runs, _names(runs), strict=True)]
    return sorted(entrants, key=lambda one: (one.score is None, -(one.score or 0.0)))


def gap(best: Entrant, other: Entrant) -> Gap | None:
    """How far `other` is behind; `None` where either has no score or they answered other items."""
    before, after = best.job.figures, other.job.figures
    if best.score is None or other.score is None or best is other or before.items != after.items:
        return None
    assert before.resamples is not None
    assert best.job.seed is not None
    flips = Flips.of(list(zip(*(one.marks["primary_score"] for one in (before, after)), strict=True)))
    low, high = accuracy_interval(flips, resamples=before.resamples, seed=best.job.seed)
    is_shown = mcnemar_p(flips) <= 1 - LEVEL and not low <= 0 <= high
    return Gap(flips.difference, interval_in_points((low, high)), is_shown)


def verdict(entrants: Sequence[Entrant], settings: dict[str, str]) -> str:
    """The first sentence: the best run with `settings`, or those that tie, and whether a lead is shown."""
    scored = [one for one in entrants if one.score is not None]
    if not scored:
        return f"None of the {len(entrants)} runs has a score."
    best = scored[0]
    assert best.score is not None
    words = " ".join(f"{key}={value}" for key, value in settings.items())
    named = f"{best.name} ({words})" if words and len(settings) <= _MOST_NAMED else best.name
    which, second = "Best", "Runner-up"
    tied = [one.name for one in scored if one.score == best.score]
    if len(tied) > 1:
        which, second, named = "Tied for best", "Against", enumerated(tied)
    sentence = f"{which} of {len(scored)} scored runs: {named}, {percent(best.score)} exact match."
    behind = gap(best, scored[1]) if len(scored) > 1 else None
    if behind is None:
        return sentence
    shown = "significantly lower" if behind.is_shown else "not significantly different"
    size = f"{points(behind.difference)} points ({CONFIDENCE} {behind.interval})"
    return f"{sentence} {second} {scored[1].name}: {size}, {shown}."


def not_comparable(entrants: Sequence[Entrant]) -> str | None:
    """What forbids to compare the scores; `None` where every scored run answered the same items."""
    asked = {one.job.figures.items for one in entrants if one.score is not None}
    if len(asked) <= 1:
        return None
    return f"These runs were scored on {len(asked)} different item sets: their scores are not comparable."


def _entrant(root: Path, name: str) -> Entrant:
    job = read_job(0, {}, root, ".")
    try:
        return Entrant(root, name, job, read_record(root))
    except UserError as error:
        return Entrant(root, name, replace(job, error=job.error or told("reading", error.what)), None)


def _names(runs: Sequence[Path]) -> list[str]:
    """The shortest paths that tell the runs apart."""
    absolute = [run.resolve() for run in runs]
    if len(absolute) == 1:
        return [absolute[0].name]
    common = Path(os.path.commonpath(absolute))
    return [run.relative_to(common).as_posix() for run in absolute]
