"""The harness's documents and scores as the manifest has them: by run and `verify` alike."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from tunix_exp.errors import UserError
from tunix_exp.evidence.sections import Headline


def documents_hash(documents: Iterable[tuple[str, int, str]]) -> str:
    """The sha256 of (task, number, the harness's hash) of every document, in order."""
    lines = "".join(f"{task}/{number} {digest}\n" for task, number, digest in documents)
    return hashlib.sha256(lines.encode()).hexdigest()


def harness_headline(summary: Mapping[str, Any]) -> Headline:
    """The scores by items that are right or wrong; where there are none, the first metric."""
    base, comparison = summary["base_accuracy"], summary["comparison"]
    if base is None:
        _, _, before, after, n_items = first_number(summary)
        change = None if after is None else after - before
        return Headline(base_score=before, trained_score=after, difference=change, n_items=n_items)
    return Headline(
        base_score=base,
        trained_score=None if comparison is None else comparison["trained_accuracy"],
        difference=None if comparison is None else comparison["difference"],
        n_items=summary["n_right_or_wrong"],
    )


def first_number(summary: Mapping[str, Any]) -> tuple[str, str, float, float | None, int]:
    """Task, metric, both models' values and the items of the first metric that is a number."""
    for task, part in summary["tasks"].items():
        for key, figures in part["metrics"].items():
            base, trained = figures["base"], figures["trained"]
            if type(base) in (int, float) and (trained is None or type(trained) in (int, float)):
                return task, key, base, trained, part["n_items"]
    raise UserError(
        "no task has a metric that is a number",
        where="eval.tasks",
        remedy="add a task with one, such as acc or word_perplexity",
    )
