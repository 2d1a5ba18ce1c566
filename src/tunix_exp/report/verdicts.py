"""What was said of traces that were shown, as a table: slips detected, located, corrected; false alarms."""

from collections.abc import Iterator, Mapping
from typing import Any

from tunix_exp.numbers import interval, percent
from tunix_exp.report.comparison import Summary
from tunix_exp.report.table import Cells, Table
from tunix_exp.scoring.verdicts import share_interval

_LABELS = {
    "clean": "no slip",
    "arithmetic": "arithmetic",
    "copied": "number copied wrongly",
    "unit": "unit",
    "dropped": "step left out",
}
_WHAT = ("detected", "located", "corrected")
_NAMES = {"base": "Base", "trained": "Trained"}
Counts = Mapping[str, Mapping[str, int]]


def verdict_table(summary: Summary) -> Table | None:
    """How many traces of each kind were shown, and what each model said of them; None where none was."""
    models = {name: counts for name in _NAMES if (counts := _counts(summary, name)) is not None}
    if not models:
        return None
    first = next(iter(models.values()))
    columns = tuple(f"{name}: {what}" for name in models for what in _WHAT)
    rows = tuple(
        (
            label,
            f"{first[kind]['n_items']:,}",
            *(cell for counts in models.values() for cell in _cells(counts, kind)),
        )
        for kind, label in _LABELS.items()
        if first[kind]["n_items"]
    )
    note = (
        "Of a trace without a slip, one that is detected is a false alarm. Located: its step was named."
        " Corrected: the right step was written. "
    )
    note += " ".join(f"{_NAMES[name]}: {', '.join(_rates(counts))}." for name, counts in models.items())
    return Table("Verdicts on shown traces", ("slip", "items", *columns), (rows,), note=note)


def _counts(summary: Summary, name: str) -> Counts | None:
    part: Mapping[str, Any] | None = summary.get(name)
    return None if part is None else part.get("scorecard", {}).get("verdicts")


def _cells(counts: Counts, kind: str) -> Cells:
    found = counts[kind]
    return tuple("" if kind == "clean" and what != "detected" else f"{found[what]:,}" for what in _WHAT)


def _rates(counts: Counts) -> Iterator[str]:
    """The rates over all slips, and of false alarms, with Wilson's 95 % interval."""
    slips = [found for kind, found in counts.items() if kind != "clean"]
    n_slips = sum(found["n_items"] for found in slips)
    if n_slips:
        for what in _WHAT:
            yield f"{what} {_rate(sum(found[what] for found in slips), n_slips)}"
    if counts["clean"]["n_items"]:
        yield f"false alarms {_rate(counts['clean']['detected'], counts['clean']['n_items'])}"


def _rate(count: int, n: int) -> str:
    ends = interval([100 * end for end in share_interval(count, n)], 1)
    return f"{count:,} of {n:,} ({percent(count / n)} {ends})"
