"""What a run showed: the sentences and the table that console, README, model card and pages share."""

import re
from collections.abc import Iterator, Sequence

from tunix_exp.numbers import percent, points
from tunix_exp.report.comparison import (
    ALL,
    COLUMNS,
    Row,
    Summary,
    certainty,
    comparison_rows,
    comparison_sentence,
    how_computed,
)
from tunix_exp.report.harness import harness_line, harness_table, measures
from tunix_exp.report.markdown import table as markdown_table
from tunix_exp.report.table import Table
from tunix_exp.scoring.paired import GROUPS
from tunix_exp.scoring.scorecard import Prediction

_WITHOUT_TRAINED = 3
_LOSS = "held-out nats/token"
_FORM = "form of the response"
_SAMPLE_CHARACTERS = 300
_SAMPLE_LINES = 8


def sentences(summary: Summary) -> list[str]:
    """The result, and the result against the baseline where there is one."""
    comparison, baseline = summary["comparison"], summary.get("baseline")
    if comparison is None:
        first = f"{result_line({**summary, 'baseline': None})}."
    elif "tasks" in summary:
        first = comparison_sentence(comparison, measure=measures(summary))
    else:
        first = comparison_sentence(comparison)
    return [first] if baseline is None else [first, _against_baseline(baseline)]


def result_line(summary: Summary) -> str:
    """The result in one line of a table."""
    if "tasks" in summary:
        return harness_line(summary)
    base, trained, comparison = summary["base"], summary["trained"], summary["comparison"]
    scores, n_items = percent(base["primary_score"]), base["scorecard"]["n_items"]
    if trained is not None:
        scores += f" → {percent(trained['primary_score'])}"
    line = f"{scores} exact match on {n_items:,} items"
    if comparison is not None:
        line += f" ({certainty(comparison)})"
    baseline = summary["baseline"]
    if baseline is not None:
        change = points(baseline["comparison"]["difference"])
        line += f"; {baseline['verdict']} against {baseline['run_id']} ({change} points)"
    return line


def _against_baseline(baseline: Summary) -> str:
    verdict = {"held": "no regression", "regressed": "regressed"}[baseline["verdict"]]
    named = f"Baseline {baseline['run_id']} (tolerance {baseline['tolerance_points']:g} points)"
    return f"{named}: {verdict}. {comparison_sentence(baseline['comparison'], subject='This run')}"


def table(summary: Summary) -> Table:
    """Base against trained; without a trained model the base model alone."""
    if "tasks" in summary:
        return harness_table(summary)
    comparison = summary["comparison"]
    columns = ("", *COLUMNS)
    width = len(columns) if comparison is not None else _WITHOUT_TRAINED
    groups: dict[str, list[tuple[str, ...]]] = {}
    for row in rows(summary):
        groups.setdefault(row.group, []).append((row.label, *row.cells)[:width])
    if (form := form_row(summary)) is not None:
        groups[_FORM] = [(_FORM, *form)[:width]]
    groups[_LOSS] = [(_LOSS, *loss_row(summary).cells)[:width]]
    return Table(
        title="Exact match on held-out items" + (", change in points" if comparison is not None else ""),
        columns=columns[:width],
        groups=tuple(map(tuple, groups.values())),
        note="" if comparison is None else how_computed(comparison),
    )


def rows(summary: Summary) -> Iterator[Row]:
    """All items, then every section, category and difficulty."""
    if summary["comparison"] is not None:
        yield from comparison_rows(summary["comparison"])
        return
    card = summary["base"]["scorecard"]
    yield Row("", ALL, card["n_items"], card["primary_score"])
    for group in GROUPS:
        for name, part in card[f"per_{group}"].items():
            yield Row(group, name, part["n_items"], part["primary_score"])


def form_row(summary: Summary) -> tuple[str, ...] | None:
    """How many answers have the form of the response template; of runs that have one, and recorded it."""
    base, trained = summary["base"], summary["trained"]
    if "well_formed" not in base or base["well_formed"] is None:
        return None
    n_items = base["scorecard"]["n_items"]
    before = base["well_formed"] / n_items
    if trained is None:
        return (f"{n_items:,}", percent(before), "", "", "", "")
    after = trained["well_formed"] / n_items
    return (f"{n_items:,}", percent(before), percent(after), points(after - before), "", "")


def loss_row(summary: Summary) -> Row:
    """The held-out loss of all items."""
    if summary["comparison"] is None:
        base, n_items = summary["base"]["heldout_loss_nats"], summary["base"]["scorecard"]["n_items"]
        return Row("", ALL, n_items, base, is_loss=True)
    loss = summary["comparison"]["heldout_loss"]
    ends = None if loss["interval_95"] is None else (loss["interval_95"][0], loss["interval_95"][1])
    before, after, change = (loss[key] for key in ("base_nats", "trained_nats", "difference_nats"))
    return Row("", ALL, loss["n_items"], before, after, change, ends, is_loss=True)


def sample_table(base: Sequence[Prediction], trained: Sequence[Prediction] | None, *, rows: int) -> str:
    """A Markdown table of the first `rows` items with what each model said."""
    models = {"base": base} if trained is None else {"base": base, "trained": trained}
    cells = [
        [one.id, one.prompt, one.expected_answer]
        + [f"{'✓' if said[place].correct else '✗'} {said[place].output}" for said in models.values()]
        for place, one in enumerate(base[:rows])
    ]
    return (
        markdown_table(["item", "prompt", "expected", *models], [[*map(_shortened, row)] for row in cells])
        + "\n"
    )


def _shortened(text: str) -> str:
    # an untrained model may answer with line ends alone
    lines = text.split("\n")
    text = text if len(lines) <= _SAMPLE_LINES else "\n".join([*lines[:_SAMPLE_LINES], "…"])
    short = text if len(text) <= _SAMPLE_CHARACTERS else text[:_SAMPLE_CHARACTERS] + " …"
    # `&` and `<` are HTML's; what means something in a line of Markdown has a backslash before it.
    return re.sub(r"([\\`*_{}\[\]])", r"\\\1", short.replace("&", "&amp;").replace("<", "&lt;"))
