"""What a run's manifest and pages say of the harness's tasks: by run and `verify` alike."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from tunix_exp.errors import UserError
from tunix_exp.evidence.manifest import Headline
from tunix_exp.evidence.summary import certainty
from tunix_exp.scoring.paired import points

# A benchmark may have dozens of tasks.
_MOST_NAMED = 3


def documents_hash(documents: Iterable[tuple[str, int, str]]) -> str:
    """The sha256 of (task, number, the harness's hash) of every document, in order."""
    lines = "".join(f"{task}/{number} {digest}\n" for task, number, digest in documents)
    return hashlib.sha256(lines.encode()).hexdigest()


def harness_headline(summary: Mapping[str, Any]) -> Headline:
    """The result in one line: the items that are right or wrong; where there are none, the first metric."""
    comparison, base = summary["comparison"], summary["base_accuracy"]
    if base is None:
        return _of_a_metric(summary)
    n_items = summary["n_right_or_wrong"]
    tasks = [name for name, key in summary["primary"].items() if key is not None]
    more = f" and {len(tasks) - _MOST_NAMED} more" if len(tasks) > _MOST_NAMED else ""
    asked = f"of {n_items} items right ({', '.join(tasks[:_MOST_NAMED])}{more})"
    if comparison is None:
        text = f"{100 * base:.1f} % {asked}"
        return Headline(base_score=base, trained_score=None, difference=None, n_items=n_items, text=text)
    trained, difference = comparison["trained_accuracy"], comparison["difference"]
    return Headline(
        base_score=base,
        trained_score=trained,
        difference=difference,
        n_items=n_items,
        text=f"{100 * base:.1f} % → {100 * trained:.1f} % {asked}: {points(difference)} points"
        f"{certainty(comparison)}",
    )


def harness_in_words(summary: Mapping[str, Any]) -> str:
    """The comparison's sentence, or the headline where there is no comparison."""
    comparison = summary["comparison"]
    return harness_headline(summary).text if comparison is None else comparison["sentence"]


def _of_a_metric(summary: Mapping[str, Any]) -> Headline:
    for task, part in summary["tasks"].items():
        for key, figures in part["metrics"].items():
            base, trained = figures["base"], figures["trained"]
            if type(base) in (int, float) and (trained is None or type(trained) in (int, float)):
                after = "" if trained is None else f" → {trained:.4g}"
                return Headline(
                    base_score=base,
                    trained_score=trained,
                    difference=None if trained is None else trained - base,
                    n_items=part["n_items"],
                    text=f"{task} {key.split(',')[0]}: {base:.4g}{after} on {part['n_items']} items",
                )
    raise UserError(
        "no task has a metric that is a number",
        where="eval.tasks",
        remedy="add a task with one, such as acc or word_perplexity",
    )
