"""The metric of a sweep against each swept key: a point a run, a line through the means of each setting."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any, NamedTuple

from tunix_exp.report.page.charts import CONFIG, LABELS, Plain, rounded
from tunix_exp.report.sweep import Summary, figure_rows
from tunix_exp.sweep.config import METRICS
from tunix_exp.sweep.summary import SEED, arm_name

# More settings of the other keys than colours: they are all drawn in one.
_TONES = 8
_LOG_FROM = 20
_HEIGHT = 260
_LABELS_IN_A_ROW = 40  # characters
_SLANT, _LONGEST, _LETTER = -30, 160, 6  # degrees, pixels
_LEFT = 44  # pixels that the numbers of an axis take


class Swept(NamedTuple):
    """One key's picture: `legend` has the settings of the other keys with their colours."""

    key: str
    title: str
    legend: tuple[tuple[str, str], ...]
    spec: Plain


def swept_charts(summary: Summary) -> list[Swept]:
    """A picture for each key of which two values or more have a figure."""
    rows = list(figure_rows(summary))
    found = []
    swept = [key for key in summary["swept"] if key != SEED] or summary["swept"]
    for key in swept:
        drawn = [(settings, value) for _, settings, value in rows if settings[key] is not None]
        if len({settings[key] for settings, _ in drawn}) > 1:
            found.append(_chart(key, drawn, summary))
    return found


def _chart(key: str, drawn: Sequence[tuple[dict[str, str | None], float]], summary: Summary) -> Swept:
    numbers = [_number(settings[key]) for settings, _ in drawn]
    is_numeric = all(number is not None for number in numbers)
    scale = 100 if METRICS[summary["metric"]].is_share else 1
    points: list[Plain] = []
    for (settings, value), number in zip(drawn, numbers, strict=True):
        others = {
            name: said for name, said in settings.items() if name not in (key, SEED) and said is not None
        }
        place = number if is_numeric else settings[key]
        points.append({"x": place, "y": rounded(scale * value), "arm": arm_name(others) if others else ""})
    arms = list(dict.fromkeys(point["arm"] for point in points))
    if len(arms) > _TONES:
        arms = [""]
        points = [point | {"arm": ""} for point in points]
    tones = [f"var(--run-{place + 1})" for place in range(len(arms))]
    means = _means(points) if key != SEED else []
    unit = METRICS[summary["metric"]].title + (", %" if scale == 100 else "")
    spec = _spec(key, points, means, dict(zip(arms, tones, strict=True)), is_numeric)
    legend = tuple(zip(arms, tones, strict=True)) if arms != [""] else ()
    return Swept(key, f"{unit} against {key}", legend, spec)


def _means(points: Sequence[Plain]) -> list[Plain]:
    groups: dict[tuple[Any, str], list[float]] = {}
    for point in points:
        groups.setdefault((point["x"], point["arm"]), []).append(point["y"])
    return [{"x": x, "arm": arm, "y": rounded(fmean(values))} for (x, arm), values in groups.items()]


def _spec(
    key: str, points: list[Plain], means: list[Plain], tones: dict[str, str], is_numeric: bool
) -> Plain:
    is_crowded = sum(len(str(x)) for x in {point["x"] for point in points}) > _LABELS_IN_A_ROW
    slanted: Plain = {"labelAngle": 0}
    left = _LEFT
    if is_crowded:
        slanted = {"labelAngle": _SLANT, "labelAlign": "right", "labelLimit": _LONGEST}
        # the first label reaches to the left of the axis
        first = min(_LONGEST, _LETTER * len(str(points[0]["x"])))
        left = max(_LEFT, round(first * math.cos(math.radians(_SLANT))))
    x: Plain = {"field": "x", "type": "nominal", "sort": None, "axis": {"title": key, **slanted}}
    if is_numeric:
        places = [float(point["x"]) for point in points]
        is_log = min(places) > 0 and max(places) / min(places) >= _LOG_FROM
        values = sorted(set(places))
        axis = {"title": key, "values": values, "labelExpr": LABELS, "labelOverlap": "parity"}
        scale = {"type": "log" if is_log else "linear", "zero": False, "nice": False, "padding": 24}
        x = {"field": "x", "type": "quantitative", "scale": scale, "axis": axis}
    heights = [point["y"] for point in points]
    air = 0.08 * (max(heights) - min(heights)) or 0.05 * abs(heights[0]) or 1.0
    y: Plain = {
        "field": "y",
        "type": "quantitative",
        "scale": {"domain": [rounded(min(heights) - air), rounded(max(heights) + air)], "nice": True},
        "axis": {"title": None, "tickCount": 5, "minExtent": left, "labelExpr": LABELS},
    }
    color = {
        "field": "arm",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": list(tones), "range": list(tones.values())},
    }
    point: Plain = {"type": "point", "filled": True, "size": 44, "opacity": 0.7}
    layers: list[Plain] = [{"data": {"values": points}, "mark": point}]
    if means:
        line: Plain = {"type": "line", "strokeWidth": 1.6}
        tick: Plain = {"type": "tick", "orient": "horizontal", "size": 18, "thickness": 2.5, "opacity": 1}
        data = {"values": means}
        layers += [{"data": data, "mark": line}] if is_numeric else []
        layers += [{"data": data, "mark": tick}]
    return {
        "width": "container",
        "height": _HEIGHT,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": {"left": 0, "right": 4, "top": 6, "bottom": 5},
        "config": CONFIG,
        "encoding": {"x": x, "y": y, "color": color},
        "layer": layers,
    }


def _number(text: str | None) -> float | None:
    try:
        found = float(text or "")
    except ValueError:
        return None
    return found if math.isfinite(found) else None
