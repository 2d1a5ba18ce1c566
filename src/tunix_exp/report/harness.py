"""The harness's tasks as a table and in a line: every metric of both models, and how sure its change is."""

from typing import Any

from tunix_exp.evidence.kinds.harness import first_number
from tunix_exp.numbers import percent, points, probability
from tunix_exp.report.comparison import CONFIDENCE, Summary, certainty
from tunix_exp.report.table import Table
from tunix_exp.scoring.harness import BITS_EACH, NATS, NATS_EACH, SHARE_RIGHT

COLUMNS = ("task", "metric", "items", "base", "trained", "change", CONFIDENCE, "p")
_WITHOUT_TRAINED = 4
_MOST_NAMED = 3
# A perplexity's change is told in its logarithm, since that has an interval.
_UNITS = {NATS: " nats", NATS_EACH: " nats", BITS_EACH: " bits"}


def harness_table(summary: Summary) -> Table:
    """A row for each metric of each task, and for those of groups of tasks."""
    tasks = summary["tasks"].items()
    is_trained = any(one["trained"] is not None for _, part in tasks for one in part["metrics"].values())
    width = len(COLUMNS) if is_trained else _WITHOUT_TRAINED
    rows = [
        (task, _metric_name(key), str(part["n_items"]), *_figures(metric))
        for task, part in tasks
        for key, metric in part["metrics"].items()
    ]
    rows += [
        (f"{group} (group)", _metric_name(key), "", *_values(metric, None), "", "", "")
        for group, part in summary["groups"].items()
        for key, metric in part["metrics"].items()
    ]
    cut = tuple(row[:width] for row in rows)
    return Table(f"Tasks of lm-eval {summary['lm_eval']}", COLUMNS[:width], (cut,), 2)


def harness_line(summary: Summary) -> str:
    """The result in one line: the items that are right or wrong, else the first metric that is a number."""
    base, comparison = summary["base_accuracy"], summary["comparison"]
    if base is None:
        task, key, before, after, n_items = first_number(summary)
        change = "" if after is None else f" → {after:.4g}"
        return f"{task} {key.split(',')[0]}: {before:.4g}{change} on {n_items:,} items"
    tasks = [name for name, key in summary["primary"].items() if key is not None]
    more = f" and {len(tasks) - _MOST_NAMED} more" if len(tasks) > _MOST_NAMED else ""
    asked = f"{measures(summary)} on {summary['n_right_or_wrong']:,} items"
    where = f" ({', '.join(tasks[:_MOST_NAMED])}{more})"
    if comparison is None:
        return f"{percent(base)} {asked}{where}"
    scores = f"{percent(base)} → {percent(comparison['trained_accuracy'])}"
    return f"{scores} {asked}{where}: {certainty(comparison)}"


def measures(summary: Summary) -> str:
    """What makes an item right: the primary metrics of the tasks."""
    names = sorted({key.split(",")[0] for key in summary["primary"].values() if key is not None})
    return " and ".join(names)


def _metric_name(key: str) -> str:
    name, _, through = key.partition(",")
    return name if through == "none" else f"{name} ({through})"


def _figures(metric: dict[str, Any]) -> list[str]:
    of, change, ends = metric["of"], metric["difference"], metric["interval_95"]
    p = "" if metric["p"] is None else probability(metric["p"])
    interval = "" if ends is None else f"[{', '.join(_change(end, of) for end in ends)}]"
    told = "" if change is None else _change(change, of) + _UNITS.get(str(of), "")
    return [*_values(metric, of), told, interval, p]


def _values(metric: dict[str, Any], of: str | None) -> list[str]:
    return [_value(metric[which], of) for which in ("base", "trained")]


def _value(value: Any, of: str | None) -> str:
    if type(value) not in (int, float):
        return "" if value is None else str(value)
    return percent(value) if of == SHARE_RIGHT else f"{value:.4g}"


def _change(value: float, of: str | None) -> str:
    return points(value) if of == SHARE_RIGHT else f"{value:+.4g}".replace("-", "−")
