"""The harness's tasks as a table: every metric of base and trained model, and how sure its change is."""

from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from tunix_exp.evidence.harness import harness_in_words
from tunix_exp.scoring.harness import BITS_EACH, NATS, NATS_EACH, SHARE_RIGHT
from tunix_exp.scoring.paired import p_text, points

COLUMNS = ("task", "metric", "items", "base", "trained", "change", "95 % interval", "p")
_WITHOUT_TRAINED = 4
# So wide, that the sentence below a narrow table has room.
_NAMES_ALONE = 40
# A perplexity's change is told in what it is the power of, since that has an interval.
_UNITS = {NATS: " nats", NATS_EACH: " nats", BITS_EACH: " bits"}


def harness_columns(summary: dict[str, Any]) -> tuple[str, ...]:
    """The headings; without a trained model those of the base model alone."""
    trained = any(metric["trained"] is not None for _, _, metric in _metrics(summary))
    return COLUMNS if trained else COLUMNS[:_WITHOUT_TRAINED]


def harness_rows(summary: dict[str, Any]) -> list[list[str]]:
    """A row for each metric of each task, and for those of groups of tasks, as text."""
    width = len(harness_columns(summary))
    rows = [
        [task, _named(key), str(summary["tasks"][task]["n_items"]), *_figures(metric)]
        for task, key, metric in _metrics(summary)
    ]
    for group, part in summary["groups"].items():
        for key, metric in part["metrics"].items():
            values = [_value(metric[which], None) for which in ("base", "trained")]
            rows.append([f"{group} (group)", _named(key), "", *values, "", "", ""])
    return [row[:width] for row in rows]


def harness_table(summary: dict[str, Any]) -> Table:
    """The rows, and below them the result in a sentence."""
    table = Table(
        title=f"Tasks of lm-eval {summary['lm_eval']}",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
        caption=f"\n{harness_in_words(summary)}",
        caption_justify="left",
        caption_style="",
    )
    for column in harness_columns(summary):
        is_text = column in ("task", "metric")
        overflow = "fold" if is_text else "ellipsis"  # a long name is folded, not cut
        justify = "left" if is_text else "right"
        table.add_column(column, justify=justify, no_wrap=not is_text, overflow=overflow)
    table.columns[0].min_width = 0 if "trained" in harness_columns(summary) else _NAMES_ALONE
    for row in harness_rows(summary):
        table.add_row(*row)
    return table


def _metrics(summary: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for task, part in summary["tasks"].items():
        for key, metric in part["metrics"].items():
            yield task, key, metric


def _named(key: str) -> str:
    name, _, through = key.partition(",")
    return name if through == "none" else f"{name} ({through})"


def _figures(metric: dict[str, Any]) -> list[str]:
    of, change, ends = metric["of"], metric["difference"], metric["interval_95"]
    p = "" if metric["p"] is None else p_text(metric["p"]).removeprefix("= ")
    interval = "" if ends is None else "…".join(_change(end, of) for end in ends)
    told = "" if change is None else _change(change, of) + _UNITS.get(str(of), "")
    return [_value(metric["base"], of), _value(metric["trained"], of), told, interval, p]


def _value(value: Any, of: str | None) -> str:
    if type(value) not in (int, float):
        return "" if value is None else str(value)
    return f"{100 * value:.1f} %" if of == SHARE_RIGHT else f"{value:.4g}"


def _change(value: float, of: str | None) -> str:
    return points(value) if of == SHARE_RIGHT else f"{value:+.4g}"
