"""A sweep's summary as a person reads it: the sentences, and the tables of console, Markdown and CSV."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from tunix_exp.numbers import counted, duration, enumerated, interval, percent, points, probability
from tunix_exp.report.comparison import CONFIDENCE
from tunix_exp.report.markdown import named
from tunix_exp.report.table import Table, as_markdown, as_text
from tunix_exp.sweep.config import METRICS

Summary = dict[str, Any]

_WITHOUT_BEST = {
    "no figure": "no completed run has this metric",
    "other items": "the runs were scored on different item sets, and their scores are not comparable",
}


class _Words(NamedTuple):
    """How a metric is told: its value, the ends of an interval, a lead."""

    value: Callable[[float], str]
    ends: Callable[[Sequence[float]], str]
    lead: Callable[[float], str]


_SCORE = _Words(
    percent,
    lambda ends: interval([100 * end for end in ends], 1),
    lambda lead: f"{points(lead)[1:]} points",
)
_LOSS = _Words("{:.4f}".format, lambda ends: interval(ends, 4), "{:.4f}".format)


def _words(summary: Summary) -> _Words:
    return _SCORE if METRICS[summary["metric"]].is_share else _LOSS


def verdict(summary: Summary) -> str:
    """The first sentence: the best arm or those that tie, and whether the lead is shown."""
    metric = METRICS[summary["metric"]].title
    if summary["best"] is None:
        return f"No best by {metric}: {_WITHOUT_BEST[summary['no_best']]}."
    best = summary["best"]
    tied = [arm for arm in summary["arms"] if arm["mean"] == best["mean"]]
    which, arms = "Best", best["arm"]
    if len(tied) > 1:
        which, arms = "Tied for best", enumerated([arm["arm"] for arm in tied])
    found = f"{which} by {metric} ({summary['goal']}d): {arms}, {_words(summary).value(best['mean'])}"
    counts = {arm["over_seeds"]["n"] for arm in tied}
    found += f" (mean over {max(counts)} seeds)." if len(counts) == 1 and max(counts) > 1 else "."
    return found if best["runner_up"] is None else f"{found} {_lead(summary, best['runner_up'])}"


def _lead(summary: Summary, second: dict[str, Any]) -> str:
    """How far the next arm is behind, and what that rests on."""
    _, ends, lead = _words(summary)
    text = f"Against {second['arm']}: the same mean"
    if second["lead"]:
        text = f"Runner-up {second['arm']}: {lead(second['lead'])} behind"
    over_items, over_seeds = second["over_items"], second["over_seeds"]
    if over_items is None:
        text += "; there are no items to test that on"
    else:
        found = over_items["interval_95"]
        bounds = "" if found is None else f"{CONFIDENCE} over {over_items['n']:,} items {ends(found)}, "
        p = probability(over_items["p_corrected"]).replace("<", "< ")
        sign = "" if p.startswith("<") else "= "
        shown = "significant" if second["is_shown"] else "not significant"
        several = f", Bonferroni over {over_items['comparisons']} comparisons"
        text += f" ({bounds}p {sign}{p}{several * (over_items['comparisons'] > 1)}): {shown}"
    if over_seeds["interval_95"] is not None:
        text += f". Over {over_seeds['n']} seeds: {CONFIDENCE} {ends(over_seeds['interval_95'])}"
    return f"{text}."


def notes(summary: Summary) -> list[str]:
    """How the table of arms is to be read."""
    said = [
        f"Intervals are {CONFIDENCE}s. “Over seeds” is Student's t over an arm's runs: what other seeds would"
        " give. “Over items” is a bootstrap over the held-out items of these runs: what other items would."
    ]
    second = None if summary["best"] is None else summary["best"]["runner_up"]
    if second is not None and (needed := _needed(second)):
        said.append(f"To see 5 points between the best two at 80 % power: {needed}.")
    if len(summary["arms"]) > 1:
        said.append(
            "The best of many arms was chosen by these items, which flatter it: score it again on others."
        )
    return said


def _needed(second: dict[str, Any]) -> str:
    """How many items, and how many seeds, show a difference of 5 points."""
    counts = {
        noun: (second[key] or {}).get("n_to_see_5_points")
        for noun, key in (("item", "over_items"), ("seed", "over_seeds"))
    }
    return " or ".join(f"about {counted(count, noun)}" for noun, count in counts.items() if count is not None)


def counted_jobs(summary: Summary) -> str:
    """How many jobs completed, and how the others ended."""
    others: dict[str, int] = {}
    for job in summary["jobs"]:
        if job["status"] != "completed":
            others[job["status"]] = others.get(job["status"], 0) + 1
    said = [f"{summary['n_completed']} of {summary['n_jobs']} jobs completed"]
    return ", ".join([*said, *(f"{count} {status}" for status, count in others.items())])


def arms_table(summary: Summary) -> Table:
    """A row an arm: mean, both intervals, the other figures."""
    value, ends, _ = _words(summary)
    rows = tuple(
        (
            arm["arm"],
            f"{arm['n_completed']}/{len(arm['jobs'])}",
            _or_none(arm["mean"], value),
            _or_none(arm["over_seeds"]["interval_95"], ends),
            _or_none(arm["over_items"]["interval_95"], ends),
            _or_none(arm["mean_heldout_loss_nats"], _LOSS.value),
        )
        for arm in summary["arms"]
    )
    columns = ("arm", "runs", METRICS[summary["metric"]].title.partition(",")[0])
    return Table(
        title=f"Arms, {CONFIDENCE}s in brackets",
        columns=(*columns, "over seeds", "over items", "held-out loss"),
        groups=(rows,),
    )


def jobs_table(summary: Summary) -> Table:
    """A row a job: what was swept, the figures, how it ended."""
    rows = tuple(
        (
            str(job["job"]),
            *("" if value is None else value for value in job["settings"].values()),
            "regressed" if job["is_regressed"] else job["status"],
            _or_none(job["primary_score"], percent),
            _or_none(job["primary_score_interval_95_over_items"], _SCORE.ends),
            _or_none(job["score_over_base"], points),
            _or_none(job["heldout_loss_nats"], _LOSS.value),
            _or_none(job["elapsed_s"], duration),
        )
        for job in summary["jobs"]
    )
    names = ("job", *summary["swept"], "status")
    figures = ("score", CONFIDENCE, "over base", "held-out loss", "time")
    return Table(title="Jobs", columns=(*names, *figures), groups=(rows,), n_names=len(names))


def faults(summary: Summary) -> list[str]:
    """A line for each job that did not complete: why."""
    return [
        f"job {job['job']} {job['status']}: {job['error']['stage']}: {job['error']['message']}"
        for job in summary["jobs"]
        if job["error"] is not None
    ]


def console(summary: Summary) -> str:
    """What a sweep prints last."""
    tables = [as_text(jobs_table(summary))]
    if len(summary["arms"]) < summary["n_jobs"]:
        tables.append(as_text(arms_table(summary)))
    return "\n".join([*tables, *faults(summary), f"{counted_jobs(summary)}. {verdict(summary)}"])


def markdown(summary: Summary, title: str) -> str:
    """`summary.md`."""
    parts = [f"# {named(title)}", f"{counted_jobs(summary)}. {named_words(verdict(summary))}"]
    parts += ["## Arms", as_markdown(arms_table(summary)), *notes(summary), "## Jobs"]
    parts.append(as_markdown(jobs_table(summary)))
    if told := faults(summary):
        parts += ["## What did not complete", "\n".join(f"- {named_words(line)}" for line in told)]
    return "\n\n".join(parts) + "\n"


def named_words(text: str) -> str:
    """A sentence in Markdown, in which what a user named means nothing to a renderer."""
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>|" else sign for sign in text)


def table_csv(summary: Summary) -> str:
    """`summary.csv`: a row a job, the figures unrounded; empty where a job has none."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    figures = (
        "primary_score",
        "score_over_base",
        "verdict_accuracy",
        "heldout_loss_nats",
        "training_loss",
        "n_items",
        "elapsed_s",
    )
    writer.writerow(("job", *summary["swept"], "status", *figures, "low_95", "high_95", "directory", "error"))
    for job in summary["jobs"]:
        ends = job["primary_score_interval_95_over_items"] or ("", "")
        settings = ("" if value is None else value for value in job["settings"].values())
        values = ("" if job[key] is None else repr(job[key]) for key in figures)
        told = "" if job["error"] is None else f"{job['error']['stage']}: {job['error']['message']}"
        writer.writerow((job["job"], *settings, job["status"], *values, *ends, job["directory"] or "", told))
    return stream.getvalue()


def figure_rows(summary: Summary) -> Iterator[tuple[int, dict[str, Any], float]]:
    """Each job with its settings and its value of the metric, where it has one."""
    for job in summary["jobs"]:
        if job["status"] == "completed" and job[summary["metric"]] is not None:
            yield job["job"], job["settings"], job[summary["metric"]]


def _or_none(value: Any, text: Callable[[Any], str]) -> str:
    return "" if value is None else text(value)
