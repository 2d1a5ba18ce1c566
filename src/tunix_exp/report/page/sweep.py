"""The page of several runs: which keys differ, who did best, and all curves on one axis."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tunix_exp.evidence.kinds.pages import REPORT
from tunix_exp.numbers import figure, percent, points
from tunix_exp.report.comparison import accuracy_row
from tunix_exp.report.page.charts import BUCKETS, FIGURES, HELDOUT, Plain, overlaid, rounded, thinned
from tunix_exp.report.page.configuration import differing_keys
from tunix_exp.report.page.forest import forest
from tunix_exp.report.page.ranking import Entrant, Gap, gap, not_comparable, ranked, verdict
from tunix_exp.report.page.record import Record
from tunix_exp.report.page.render import render

# The best runs have a colour of their own, the others are grey until they are pointed at.
_TONES = 8
# With more keys than this the results table would be all keys: they get a table of their own.
_MOST_KEYS = 6
_MOST_TOLD = 3


@dataclass(frozen=True, slots=True)
class Cell:
    """What a table shows, and what it sorts by; empty where there is nothing."""

    text: str
    value: str


_NOTHING = Cell("", "")


@dataclass(frozen=True, slots=True)
class Row:
    """One run of the results table."""

    name: str
    tone: str
    link: str | None
    status: str
    says: str
    keys: tuple[Cell, ...]
    score: Cell
    behind: Cell
    gain: Cell
    heldout: Cell
    loss: Cell
    speed: Cell


def runs_page(runs: Sequence[Path], *, target: Path, title: str) -> str:
    """The page of `runs`, best first; from `target`, where it is to lie, links lead to the runs' pages."""
    entrants = ranked(runs)
    readable = [(one.name, one.record) for one in entrants if one.record is not None]
    differing = differing_keys([record.config for _, record in readable])
    settings: dict[str, dict[str, str | None]] = {one.name: {} for one in entrants}
    settings |= {
        name: {key: values[place] for key, values in differing.items()}
        for place, (name, _) in enumerate(readable)
    }
    keys = list(differing) if len(differing) <= _MOST_KEYS else []
    tones = {
        one.name: f"var(--run-{place + 1})" if place < _TONES else "var(--rule)"
        for place, one in enumerate(entrants)
    }
    drawn = {name: record for name, record in readable if record.metrics}
    columns = {name: _columns(record, len(drawn)) for name, record in drawn.items()}
    labels = {name: _label(name, settings[name], keys) for name in settings}
    comparisons = {labels[one.name]: found for one in entrants if (found := _comparison(one)) is not None}
    best = settings[entrants[0].name]
    return render(
        "sweep.html",
        data=_data(columns, {name: tones[name] for name in drawn}),
        title=title,
        n_completed=sum(one.status == "completed" for one in entrants),
        verdict=verdict(entrants, {key: value for key, value in best.items() if value is not None}),
        warning=not_comparable(entrants),
        shared=_shared([record for _, record in readable]),
        runs=[_row(one, entrants[0], tones[one.name], settings, keys, target) for one in entrants],
        keys=keys,
        differing=[] if keys else list(differing.items()),
        names=[name for name, _ in readable],
        forest=forest(accuracy_row("run", name, one, one["mcnemar_p"]) for name, one in comparisons.items())
        if comparisons
        else None,
        figures=_figures(columns),
        legend=[(name, labels[name], tones[name]) for name in drawn],
    )


def _row(
    one: Entrant,
    best: Entrant,
    tone: str,
    settings: dict[str, dict[str, str | None]],
    keys: list[str],
    target: Path,
) -> Row:
    record, page = one.record, one.root / REPORT.path
    summary = None if record is None or one.score is None else record.summary
    last = None if summary is None else summary["base" if summary["trained"] is None else "trained"]
    metrics = record.metrics if record is not None else []
    speed = None if record is None else record.manifest.tokens_per_s
    comparison, behind = _comparison(one), gap(best, one)
    return Row(
        name=one.name,
        tone=tone,
        link=quote(os.path.relpath(page, target.parent)) if page.is_file() else None,
        status=one.status,
        says=_regressed(record) if one.status == "completed" else one.says,
        keys=tuple(_key_cell(settings[one.name][key]) for key in keys if settings[one.name]),
        score=_NOTHING if one.score is None else Cell(percent(one.score), repr(one.score)),
        behind=_NOTHING if behind is None else _behind(behind),
        gain=_NOTHING if comparison is None else _gain(comparison),
        heldout=_NOTHING if last is None else _loss(last["heldout_loss_nats"]),
        loss=_loss(metrics[-1]["loss"]) if metrics else _NOTHING,
        speed=_NOTHING if speed is None else _figure(speed),
    )


def _regressed(record: Record | None) -> str:
    is_regressed = record is not None and record.manifest.verdict == "regressed"
    return "regressed against its baseline" if is_regressed else ""


def _comparison(one: Entrant) -> Plain | None:
    """The comparison with its base model of a run that counts."""
    return None if one.score is None or one.record is None else one.record.comparison


def _behind(found: Gap) -> Cell:
    return Cell(f"{points(found.difference)} ({found.interval})", repr(found.difference))


def _gain(comparison: Plain) -> Cell:
    return Cell(points(comparison["difference"]), repr(comparison["difference"]))


def _loss(value: float) -> Cell:
    return Cell(f"{value:.4f}", repr(value))


def _figure(value: float) -> Cell:
    return Cell(figure(value), repr(value))


def _key_cell(value: str | None) -> Cell:
    return Cell("–", "") if value is None else Cell(value, value)


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


# ── curves ───────────────────────────────────────────────────────────────────────────────────────────


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
    specs = {
        key: overlaid(
            key, tones=tones, last=last, values=[value for one in columns.values() for value in one[key]]
        )
        for key, _ in _figures(columns)
    }
    runs = [{"name": name, "columns": one} for name, one in columns.items()]
    return {"runs": runs, "specs": specs}


def _figures(columns: dict[str, dict[str, list[float]]]) -> list[tuple[str, str]]:
    """The figures that can be chosen, with their units."""
    known = {**FIGURES, HELDOUT: ("Held-out loss", "nats per response token")}
    order = ["loss", HELDOUT, "lr", "grad_norm", "tokens_per_s"]
    return [
        (key, ", ".join(word for word in known[key] if word))
        for key in order
        if any(one[key] for one in columns.values())
    ]
