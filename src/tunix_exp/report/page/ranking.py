"""Which of several runs did best, and whether the others are shown to be behind."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tunix_exp.errors import UserError
from tunix_exp.evidence.sections import HarnessEval, ItemsEval
from tunix_exp.numbers import interval_in_points, percent, points
from tunix_exp.report.comparison import CONFIDENCE
from tunix_exp.report.outcomes import Outcome, outcome
from tunix_exp.report.page.record import Record, read_record
from tunix_exp.scoring.paired import LEVEL, Flips, accuracy_interval, mcnemar_p

# With more settings than this the first sentence names none.
_MOST_NAMED = 6


@dataclass(frozen=True, slots=True)
class Entrant:
    """A run, how it ended under the name that tells it from the others, and its files if they can be read."""

    root: Path
    ended: Outcome
    record: Record | None

    @property
    def name(self) -> str:
        """The name that tells it from the others."""
        return self.ended.run

    @property
    def score(self) -> float | None:
        """The primary score of a completed run."""
        return self.record.score if self.record is not None and self.ended.status == "completed" else None


@dataclass(frozen=True, slots=True)
class Gap:
    """A run's score less the best one's on the same items, its 95 % interval, and whether that is shown."""

    difference: float
    low: float
    high: float
    is_shown: bool

    @property
    def interval(self) -> str:
        """Both ends in percentage points."""
        return interval_in_points((self.low, self.high))


def ranked(runs: Sequence[Path]) -> list[Entrant]:
    """Best score first; runs without one after them, both in their own order."""
    entrants = [_entrant(root, name) for root, name in zip(runs, _names(runs), strict=True)]
    return sorted(entrants, key=lambda one: (one.score is None, -(one.score or 0.0)))


def gap(best: Entrant, other: Entrant) -> Gap | None:
    """How far `other` is behind; `None` where either has no score or they answered other items."""
    if best.score is None or other.score is None or best is other:
        return None
    assert best.record is not None
    assert other.record is not None
    before, after = best.record.answers, other.record.answers
    if [one.id for one in before] != [one.id for one in after] or _items(best.record) != _items(other.record):
        return None
    flips = Flips.of([(one.correct, two.correct) for one, two in zip(before, after, strict=True)])
    evaluation = best.record.config["eval"]
    low, high = accuracy_interval(flips, resamples=evaluation["resamples"], seed=best.record.config["seed"])
    is_shown = mcnemar_p(flips) <= 1 - LEVEL and not low <= 0 <= high
    return Gap(flips.difference, low, high, is_shown)


def verdict(entrants: Sequence[Entrant], settings: dict[str, str]) -> str:
    """The first sentence: the best run with its `settings`, and whether the next is shown to be behind it."""
    scored = [one for one in entrants if one.score is not None]
    if not scored:
        return f"None of the {len(entrants)} runs has a score."
    best = scored[0]
    assert best.score is not None
    words = " ".join(f"{key}={value}" for key, value in settings.items())
    named = f" ({words})" if words and len(settings) <= _MOST_NAMED else ""
    sentence = f"Best of {len(scored)} scored runs: {best.name}{named}, {percent(best.score)} exact match."
    behind = gap(best, scored[1]) if len(scored) > 1 else None
    if behind is None:
        return sentence
    shown = "significantly lower" if behind.is_shown else "not significantly different"
    size = f"{points(behind.difference)} points ({CONFIDENCE} {behind.interval})"
    return f"{sentence} Runner-up {scored[1].name}: {size}, {shown}."


def not_comparable(entrants: Sequence[Entrant]) -> str | None:
    """What forbids to compare the scores; `None` where every scored run answered the same items."""
    asked = {_items(one.record) for one in entrants if one.score is not None and one.record is not None}
    if len(asked) <= 1:
        return None
    return f"These runs were scored on {len(asked)} different item sets: their scores are not comparable."


def _items(record: Record) -> tuple[str, object] | None:
    """The hash of what the items were read from, and which of it they are."""
    match record.manifest.eval:
        case ItemsEval(sha256=digest):
            return digest, tuple(one.id for one in record.base)
        case HarnessEval(sha256=digest, rows=rows):
            return digest, rows
    return None


def _entrant(root: Path, name: str) -> Entrant:
    ended = outcome(root, name)
    try:
        return Entrant(root, ended, read_record(root))
    except UserError as error:
        return Entrant(root, replace(ended, says=ended.says or error.what), None)


def _names(runs: Sequence[Path]) -> list[str]:
    """The shortest paths that tell the runs apart."""
    absolute = [run.resolve() for run in runs]
    if len(absolute) == 1:
        return [absolute[0].name]
    common = Path(os.path.commonpath(absolute))
    return [run.relative_to(common).as_posix() for run in absolute]
