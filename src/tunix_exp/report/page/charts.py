"""Curves as Vega-Lite specifications: a line chart per figure, and the thinned rows that they all draw.

Colours are the page's own CSS variables, so that light and dark need no second drawing. The page's script
moves the parameter `cursor` of all charts together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunix_exp.report.series import Figures, falls_far, is_loss, is_noisy, median_reach, running_median

Plain = dict[str, Any]

# A curve is drawn from at most three times as many points as this.
BUCKETS = 400
FIGURES = {
    "loss": ("Loss", "nats per response token"),
    "lr": ("Learning rate", ""),
    "grad_norm": ("Gradient norm", "before clipping"),
    "tokens_per_s": ("Throughput", "tokens per second"),
}
HELDOUT = "heldout"

_TEXT = {"labelColor": "var(--muted)", "titleColor": "var(--muted)", "labelFontSize": 12, "titleFontSize": 12}
_AXIS = {"titleFontWeight": "normal", "gridColor": "var(--line)", "domain": False, "ticks": False}
CONFIG: Plain = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": _TEXT | _AXIS | {"labelPadding": 6},
    "axisX": {"grid": False, "domain": True, "domainColor": "var(--rule)", "titlePadding": 6},
}
# a label such as 0.00005 would push the axis to the right of its neighbours
LABELS = (
    "abs(datum.value) >= 1e4 ? format(datum.value, '~s') : "
    "datum.value !== 0 && abs(datum.value) < 1e-3 ? format(datum.value, '~e') : format(datum.value, '~g')"
)
_AT_CURSOR: Plain = {"transform": [{"filter": "datum.step === cursor"}]}
_CURSOR_RULE: Plain = _AT_CURSOR | {"mark": {"type": "rule", "stroke": "var(--rule)", "strokeWidth": 1}}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart's legend: which column it draws, in what words and colour."""

    key: str
    name: str
    tone: str
    is_dashed: bool = False
    is_faint: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """One set of axes with its words; `spec` is Vega-Lite."""

    key: str
    title: str
    unit: str
    lines: tuple[Line, ...]
    spec: Plain


def training_charts(
    rows: Sequence[Plain], heldout: dict[int, float], own: Figures, stages: Sequence[tuple[str, int]] = ()
) -> tuple[list[Chart], Plain]:
    """A chart per figure, the objective's `own` last, and the columns and held-out points that they draw.

    Of `stages`, by their last steps, the borders are drawn.
    """
    shown = thinned(rows)
    columns: dict[str, list[Any]] = {"step": [rows[place]["step"] for place in shown]}
    borders = [{"step": end} for _, end in stages[:-1] if end < columns["step"][-1]]
    charts = []
    for key, (title, unit) in (FIGURES | own).items():
        found = {place: row[key] for place, row in enumerate(rows) if key in row}
        values = list(found.values())
        columns[key] = _column(found, shown)
        has_median = is_noisy(values)
        name = "training batch" if is_loss(key) else "each step"
        lines = [Line(key, name, "blue", is_faint=has_median)]
        if has_median:
            median = dict(zip(found, running_median(values), strict=True))
            columns[f"{key}_median"] = _column(median, shown)
            name = f"median of {2 * median_reach(values) + 1}"
            lines.append(Line(f"{key}_median", name, "blue"))
        points = heldout if key == "loss" else {}
        if points:
            lines.append(Line(HELDOUT, "held-out items", "orange", is_dashed=True))
        extent = _extent(key, [*values, *points.values()])
        unit = f"{unit}, logarithmic" if extent.is_log else unit
        steps = (min([columns["step"][0] - 1, *heldout]), columns["step"][-1])
        charts.append(Chart(key, title, unit, tuple(lines), _spec(key, lines, steps, extent, borders)))
    held = [{"step": step, HELDOUT: rounded(value)} for step, value in heldout.items()]
    return charts, {"columns": columns, HELDOUT: held}


def _column(values: dict[int, float], places: Sequence[int]) -> list[float | None]:
    """The values at these places, and null where there is none."""
    return [rounded(values[place]) if place in values else None for place in places]


def thinned(rows: Sequence[Plain], buckets: int = BUCKETS) -> list[int]:
    """The places of at most 3 × `buckets` + 2 rows: of each bucket the ends of loss and the top of the norm.

    So that a spike of one step stays, however long the run.
    """
    if len(rows) <= 3 * buckets:
        return list(range(len(rows)))
    kept = {0, len(rows) - 1}
    for bucket in range(buckets):
        places = range(bucket * len(rows) // buckets, (bucket + 1) * len(rows) // buckets)
        kept.add(min(places, key=lambda place: rows[place]["loss"]))
        kept.add(max(places, key=lambda place: rows[place]["loss"]))
        kept.add(max(places, key=lambda place: rows[place]["grad_norm"]))
    return sorted(kept)


def overlaid(key: str, *, tones: dict[str, str], last: int, values: Sequence[float]) -> Plain:
    """The specification of one figure of several runs on one axis; `picked` names the run in front.

    `tones` has the colour of each run, `values` are all that is drawn.
    """
    scale = {"domain": list(tones), "range": list(tones.values())}
    encoding = {
        "y": _y(key, _extent(key, values)),
        "color": {"field": "run", "type": "nominal", "legend": None, "scale": scale},
        "opacity": {"condition": {"test": "picked === '' || datum.run === picked", "value": 1}, "value": 0.2},
    }
    line = {"mark": {"type": "line", "strokeWidth": 1.8}, "encoding": encoding}
    return _frame((0, last), 340, [line, _CURSOR_RULE], {"picked": ""})


def _spec(
    key: str,
    lines: Sequence[Line],
    steps: tuple[float, float],
    extent: "_Extent",
    borders: Sequence[Plain],
) -> Plain:
    layers = [_CURSOR_RULE]
    if borders:
        rule: Plain = {"type": "rule", "stroke": "var(--muted)", "strokeWidth": 1, "strokeDash": [4, 3]}
        layers.append({"data": {"values": list(borders)}, "mark": rule})
    for line in lines:
        mark: Plain = {"type": "line", "stroke": f"var(--{line.tone})", "strokeWidth": 1.8}
        if line.is_faint:
            mark |= {"strokeWidth": 1, "opacity": 0.35}
        if line.is_dashed:
            mark |= {"strokeWidth": 1.5, "strokeDash": [4, 3]}
        # held-out points lie beside the rows
        shared: Plain = {"encoding": {"y": _y(line.key, extent)}}
        shared |= {"data": {"name": HELDOUT}} if line.key == HELDOUT else {}
        # a batch may have nothing of a set: the line goes on to the next that has
        drawn: Plain = {"transform": [{"filter": f"isValid(datum['{line.key}'])"}]} if "/" in key else {}
        dot: Plain = {"type": "point", "filled": True, "fill": f"var(--{line.tone})", "opacity": 1}
        at_cursor = dot | {"size": 50, "stroke": "var(--paper)", "strokeWidth": 1.5}
        if line.key == HELDOUT:
            layers.append(shared | {"mark": dot | {"size": 28}})
        layers += [shared | drawn | {"mark": mark}, shared | _AT_CURSOR | {"mark": at_cursor}]
    return _frame(steps, 260 if key == "loss" else 170, layers, {})


def _frame(steps: tuple[float, float], height: int, layers: list[Plain], params: Plain) -> Plain:
    """What all charts share: the axis of steps, the size, the parameter `cursor` and others beside it."""
    x = {
        "field": "step",
        "type": "quantitative",
        "scale": {"domain": list(steps), "nice": False},
        "axis": {"title": "optimizer step", "tickCount": 5, "format": ",d", "tickMinStep": 1},
    }
    return {
        "width": "container",
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": {"left": 0, "right": 4, "top": 6, "bottom": 5},
        "config": CONFIG,
        "data": {"name": "rows"},
        "encoding": {"x": x},
        "height": height,
        "params": [{"name": name, "value": value} for name, value in ({"cursor": steps[1]} | params).items()],
        "layer": layers,
    }


def _y(key: str, extent: "_Extent") -> Plain:
    axis: Plain = {"title": None, "tickCount": 4, "minExtent": 44, "labelExpr": LABELS}
    scale: Plain = {"domain": [extent.low, extent.high], "nice": not extent.is_log}
    if extent.is_log:
        scale |= {"type": "log"}
        axis["values"] = _log_ticks(extent.low, extent.high)
    return {"field": key, "type": "quantitative", "scale": scale, "axis": axis}


@dataclass(frozen=True, slots=True)
class _Extent:
    """The ends of an axis. From zero where it is linear: a height is then a size, and noise no drama."""

    low: float
    high: float
    is_log: bool


def _extent(key: str, values: Sequence[float]) -> _Extent:
    if (is_loss(key) or key == HELDOUT) and falls_far(values):
        return _Extent(min(values) / 1.25, max(values) * 1.25, True)  # some air
    low, high = min([0.0, *values]), max([0.0, *values])
    return _Extent(low, high if high > low else 1.0, False)


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between the ends; with fewer than three also twice and five times them."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    tens = [10.0**exponent for exponent in exponents if low <= 10.0**exponent <= high]
    if len(tens) >= 3:
        return tens
    return [part * 10.0**e for e in exponents for part in (1, 2, 5) if low <= part * 10.0**e <= high]


def rounded(value: float) -> float:
    """`value` in six significant digits: more than a screen or a reader can tell apart."""
    return float(f"{value:.6g}")
