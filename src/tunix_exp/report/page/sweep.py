"""The page of several runs: which keys differ, who did best, and all curves on one axis."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from tunix_exp.evidence.kinds.pages import REPORT
from tunix_exp.numbers import figure, percent, points
from tunix_exp.report import sweep as sweeps
from tunix_exp.report.comparison import accuracy_row
from tunix_exp.report.page.charts import BUCKETS, FIGURES, HELDOUT, Plain, overlaid, rounded, thinned
from tunix_exp.report.page.configuration import differing_keys
from tunix_exp.report.page.forest import forest
from tunix_exp.report.page.ranking import Entrant, gap, not_comparable, ranked, verdict
from tunix_exp.report.page.record import Record
from tunix_exp.report.page.render import render
from tunix_exp.report.page.swept import swept_charts
from tunix_exp.report.sweep import Summary

# The best runs have a colour of their own, the others are grey until they are pointed at.
_TONES = 8
# With more keys than this the results table would be all keys: they get a table of their own.
_MOST_KEYS = 6
_MOST_TOLD = 3


class Cell(NamedTuple):
    """What a table shows, and what it sorts by; empty where there is nothing."""

    text: str = ""
    value: str = ""


# The figures of a run, in the order of `_figures_of`.
_COLUMNS = ("score", "behind the best", "over base", "held-out loss", "last loss", "tokens/s")


class Row(NamedTuple):
    """One run of the results table."""

    name: str
    tone: str
    link: str | None
    status: str
    says: str
    keys: tuple[Cell, ...]
    figures: tuple[Cell, ...]


def runs_page(runs: Sequence[Path], *, target: Path, title: str, summary: Summary | None = None) -> str:
    """The page of `runs`, best first; from `target`, where it is to lie, links lead to the runs' pages.

    Those of a sweep have its `summary`: the arms, and the metric against each swept key.
    """
    entrants = ranked(runs)
    readable = [(one.name, one.record) for one in entrants if one.record is not None]
    differing = differing_keys([record.config for _, record in readable])
    settings: dict[str, dict[str, str | None]] = {one.name: {} for one in entrants}
    for place, (name, _) in enumerate(readable):
        settings[name] = {key: values[place] for key, values in differing.items()}
    keys = list(differing) if len(differing) <= _MOST_KEYS else []
    tones = _tones(entrants, summary, target.parent)
    drawn = {name: record for name, record in readable if record.metrics}
    columns = {name: _columns(record, len(drawn)) for name, record in drawn.items()}
    labels = {name: _label(name, settings[name], keys) for name in settings}
    comparisons = {labels[one.name]: found for one in entrants if (found := _comparison(one)) is not None}
    best = settings[entrants[0].name]
    swept = [] if summary is None else swept_charts(summary)
    first = {key: value for key, value in best.items() if value is not None}
    return render(
        "sweep.html",
        data=_data(columns, {name: tones[name] for name in drawn})
        | {"swept": [{"key": one.key, "spec": one.spec} for one in swept]},
        title=title,
        counted=f"{_completed(entrants)} of {len(runs)} runs completed"
        if summary is None
        else sweeps.counted_jobs(summary),
        verdict=verdict(entrants, first) if summary is None else sweeps.verdict(summary),
        arms=None if summary is None else sweeps.arms_table(summary),
        swept=swept,
        notes=[] if summary is None else sweeps.notes(summary),
        warning=not_comparable(entrants),
        shared=_shared([record for _, record in readable]),
        columns=_COLUMNS,
        runs=[_row(one, entrants[0], tones[one.name], keys, settings[one.name], target) for one in entrants],
        keys=keys,
        differing=[] if keys else list(differing.items()),
        names=[name for name, _ in readable],
        forest=forest(accuracy_row("run", name, one, one["mcnemar_p"]) for name, one in comparisons.items())
        if comparisons
        else None,
        figures=_figures(columns),
        legend=[(name, labels[name], tones[name]) for name in drawn],
    )


def _completed(entrants: Sequence[Entrant]) -> int:
    return sum(one.job.is_completed for one in entrants)


def _tones(entrants: Sequence[Entrant], summary: Summary | None, root: Path) -> dict[str, str]:
    """A colour a run, or of a sweep in `root` a colour an arm, the best first; grey where these are spent."""
    arm_of = {one.name: one.name for one in entrants}
    if summary is not None:
        by_job = {job: arm["arm"] for arm in summary["arms"] for job in arm["jobs"]}
        places = {root / job["directory"]: job["job"] for job in summary["jobs"] if job["directory"]}
        arm_of |= {one.name: by_job[places[one.root]] for one in entrants if one.root in places}
    arms = list(dict.fromkeys(arm_of[one.name] for one in entrants))
    colours = {
        arm: f"var(--run-{place + 1})" if place < _TONES else "var(--rule)" for place, arm in enumerate(arms)
    }
    return {name: colours[arm] for name, arm in arm_of.items()}


def _row(
    one: Entrant, best: Entrant, tone: str, keys: list[str], own: Mapping[str, str | None], target: Path
) -> Row:
    record, page, error = one.record, one.root / REPORT.path, one.job.error
    says = "regressed against its baseline" * one.job.is_regressed
    return Row(
        name=one.name,
        tone=tone,
        link=quote(os.path.relpath(page, target.parent)) if page.is_file() else None,
        status=one.job.status,
        says=says if error is None else f"{error['stage']}: {error['message']}",
        keys=tuple(Cell(own[key] or "–", own[key] or "") if key in own else Cell() for key in keys),
        figures=(Cell(),) * len(_COLUMNS) if record is None else tuple(_figures_of(one, record, best)),
    )


def _figures_of(one: Entrant, record: Record, best: Entrant) -> Iterator[Cell]:
    behind, comparison = gap(best, one), _comparison(one)
    summary = None if one.score is None else record.summary
    last: Plain | None = summary and (summary["trained"] or summary["base"])
    yield _cell(one.score, percent)
    yield (
        Cell()
        if behind is None
        else Cell(f"{points(behind.difference)} ({behind.interval})", repr(behind.difference))
    )
    yield _cell(None if comparison is None else comparison["difference"], points)
    yield _cell(None if last is None else last["heldout_loss_nats"], "{:.4f}".format)
    yield _cell(record.metrics[-1]["loss"] if record.metrics else None, "{:.4f}".format)
    yield _cell(record.manifest.tokens_per_s, figure)


def _cell(value: float | None, text: Callable[[float], str]) -> Cell:
    return Cell() if value is None else Cell(text(value), repr(value))


def _comparison(one: Entrant) -> Plain | None:
    """The comparison with its base model of a run that counts."""
    return None if one.score is None or one.record is None else one.record.comparison


def _label(name: str, settings: dict[str, str | None], keys: list[str]) -> str:
    """The run's name with the few settings that tell it from the others."""
    told = [f"{key.rsplit('.', 1)[-1]} {settings[key]}" for key in keys if settings]
    return " · ".join([name, *told]) if len(told) <= _MOST_TOLD else name


def _shared(records: Sequence[Record]) -> list[str]:
    """The words of the commands that all runs share."""
    if not records:
        return []
    common = set.intersection(*(set(record.overrides) for record in records))
    return [word for word in records[0].overrides if word in common]


def _columns(record: Record, n_runs: int) -> dict[str, list[float]]:
    shown = thinned(record.metrics, max(20, BUCKETS // n_runs))
    columns = {key: [rounded(record.metrics[place][key]) for place in shown] for key in ("step", *FIGURES)}
    return columns | {
        f"{HELDOUT}_step": list(record.heldout),
        HELDOUT: [rounded(value) for value in record.heldout.values()],
    }


def _data(columns: dict[str, dict[str, list[float]]], tones: dict[str, str]) -> dict[str, object]:
    """What the script draws: the columns of each run, and the specification of each figure."""
    if not columns:
        return {"runs": [], "specs": {}}
    last = int(max(one["step"][-1] for one in columns.values()))
    values = {key: [value for one in columns.values() for value in one[key]] for key, _ in _figures(columns)}
    specs = {key: overlaid(key, tones=tones, last=last, values=drawn) for key, drawn in values.items()}
    return {"runs": [{"name": name, "columns": one} for name, one in columns.items()], "specs": specs}


def _figures(columns: dict[str, dict[str, list[float]]]) -> list[tuple[str, str]]:
    """The figures that can be chosen, with their units."""
    heldout = {HELDOUT: ("Held-out loss", "nats per response token")}
    known = {"loss": FIGURES["loss"], **heldout, **FIGURES}
    words = {key: ", ".join(filter(None, known[key])) for key in known}
    return [(key, text) for key, text in words.items() if any(one[key] for one in columns.values())]
