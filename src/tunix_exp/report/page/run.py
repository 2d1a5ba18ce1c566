"""The page of one run."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tunix_exp.report import facts
from tunix_exp.report.classes import tables_of_answers
from tunix_exp.report.comparison import comparison_rows, notes
from tunix_exp.report.harness import harness_table
from tunix_exp.report.page import sections
from tunix_exp.report.page.charts import Chart, training_charts
from tunix_exp.report.page.configuration import config_tree
from tunix_exp.report.page.files import files
from tunix_exp.report.page.forest import forest
from tunix_exp.report.page.memory import memory_picture
from tunix_exp.report.page.predictions import fitting, prediction_rows
from tunix_exp.report.page.record import Record, read_record
from tunix_exp.report.page.render import render
from tunix_exp.report.result import loss_row
from tunix_exp.report.series import objective_figures, stage_ends

# What is shown whole, under its name, where the run has it.
_TEXTS = {
    "env_info.txt": "packages and processor",
    "device_check.txt": "devices, and the result of the device check",
    "example.txt": "one training example with its loss mask",
}


def run_page(run: Path) -> str:
    """`report.html` of the run directory `run`, from its files alone.

    A run draws it before its own last step: nothing in it claims how the run ended, unless it failed, and
    drawn again later it is the same text.
    """
    record = read_record(run)
    charts, series = _curves(record)
    rows = prediction_rows(record.base, record.trained)
    shown = fitting(rows)
    comparison = None if record.summary is None else record.summary["comparison"]
    return render(
        "run.html",
        data={"charts": [_drawn(chart) for chart in charts], "series": series, "predictions": shown},
        title=record.manifest.name,
        manifest=record.manifest,
        verdict=sections.verdict(record),
        tiles=sections.tiles(record),
        forests=[]
        if comparison is None or record.summary is None
        else [forest(comparison_rows(comparison)), forest([loss_row(record.summary)])],
        notes=[] if comparison is None else notes(comparison),
        base_scores=sections.base_scores(record),
        answers=[] if record.summary is None else tables_of_answers(record.summary),
        harness=None if record.harness is None else harness_table(record.harness),
        charts=charts,
        steps=(len(series["columns"]["step"]) if series else 0, len(record.metrics)),
        outcomes=sections.outcome_counts(record),
        groups=sections.group_names(record),
        n_items=len(rows),
        n_shown=len(shown),
        memory=None if record.plan is None else memory_picture(record.plan),
        tree=config_tree(record.config, record.defaults),
        has_defaults=record.defaults is not None,
        overrides=record.overrides,
        facts=facts.what_was_run(record.manifest, record.root),
        environment=[*facts.machine(record.manifest), *facts.environment(record.manifest)],
        stages=sections.stage_times(record.manifest),
        texts=[(name, says, text) for name, says in _TEXTS.items() if (text := record.text(name))],
        reproduction=facts.reproduction(record.manifest),
        words=facts,
        files=files(run),
    )


def _curves(record: Record) -> tuple[list[Chart], dict[str, Any]]:
    if not record.metrics:
        return [], {}
    own = objective_figures(record.config, record.metrics)
    return training_charts(record.metrics, record.heldout, own, stage_ends(record.manifest.data))


def _drawn(chart: Chart) -> dict[str, Any]:
    """What the script needs of it."""
    return {"key": chart.key, "lines": [asdict(line) for line in chart.lines], "spec": chart.spec}
