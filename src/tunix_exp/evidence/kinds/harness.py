"""`harness/*` and `harness_summary.json`: its results, summed up and compared without the harness."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from tunix_exp.errors import UserError
from tunix_exp.evidence.kinds.eval_summary import draws, not_recomputed
from tunix_exp.evidence.kinds.kind import Compared, Disagreement, Found, Kind, when_evaluated
from tunix_exp.evidence.opened import OpenedRun, lookup, same_figures
from tunix_exp.evidence.sections import HarnessEval, Headline
from tunix_exp.scoring.harness import Outcome, Sample, aggregated, harness_summary


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


def _outcome(run: OpenedRun, results: Kind, samples: Kind) -> Outcome:
    return Outcome(run.object(results), run.rows(samples))


def _base(run: OpenedRun) -> Found:
    """The base model's results are what its items give, and those are the manifest's documents."""
    yield from _results(run, BASE, BASE_SAMPLES)
    says = run.manifest.eval
    assert isinstance(says, HarnessEval)  # else these files may not lie here
    documents = {(one.task, one.doc_id): one.doc_hash for one in run.rows(BASE_SAMPLES)}
    if len(documents) != says.rows:
        yield Disagreement(BASE_SAMPLES.path, f"has {len(documents)} items, the manifest {says.rows}")
    if documents_hash((*key, digest) for key, digest in documents.items()) != says.sha256:
        yield Disagreement(BASE_SAMPLES.path, "is not of the documents of `eval.sha256` in the manifest")


def _trained(run: OpenedRun) -> Found:
    """The trained model's results are what its items give, and its requests are the base model's."""
    yield from _results(run, TRAINED, TRAINED_SAMPLES)
    asked = [[one.same_question for one in run.rows(kind)] for kind in (BASE_SAMPLES, TRAINED_SAMPLES)]
    if asked[0] != asked[1]:
        yield Disagreement(TRAINED_SAMPLES.path, f"has other requests than {BASE_SAMPLES.path}")


def _recomputed(run: OpenedRun) -> Found:
    """The summary is what results and items give, and the headline is what the summary gives."""
    before, after = _outcome(run, BASE, BASE_SAMPLES), None
    if run.facts.trains:
        after = _outcome(run, TRAINED, TRAINED_SAMPLES)
        if [one.id for one in before.samples] != [one.id for one in after.samples]:
            return  # that is said of the trained model's
    resamples, seed = draws(run)
    due = harness_summary(before, after, resamples=resamples, seed=seed)
    yield from not_recomputed(run, SUMMARY, due, "results and items", harness_headline)


def _results(run: OpenedRun, results: Kind, samples: Kind) -> Found:
    outcome = _outcome(run, results, samples)
    ids = [one.id for one in outcome.samples]
    if len(set(ids)) != len(ids):
        yield Disagreement(samples.path, "has an id twice")
    says = run.manifest.eval
    if isinstance(says, HarnessEval) and lookup(outcome.results, "lm_eval", results.path) != says.lm_eval:
        yield Disagreement(results.path, f"is not of lm-eval {says.lm_eval}, as the manifest says")
    tasks = lookup(outcome.results, "tasks", results.path)
    for name in sorted({one.task for one in outcome.samples} ^ tasks.keys()):
        yield Disagreement(results.path, f"the task `{name}` is not both here and in {samples.path}")
    for name, part in tasks.items():
        yield from _task(outcome, name, part, results.path, samples.path)


def _task(outcome: Outcome, name: str, part: dict[str, Any], results: str, samples: str) -> Found:
    own = [one for one in outcome.samples if one.task == name]
    asked = len({one.doc_id for one in own})
    if asked != lookup(part, "n_items", results):
        yield Disagreement(results, f"`{name}` has {part['n_items']} items, {samples} has {asked}")
    for key, metric in lookup(part, "metrics", results).items():
        value = lookup(metric, "value", results)
        due = aggregated(outcome.scores(name, key), lookup(metric, "aggregation", results))
        if due is not None and not same_figures(due, value):
            yield Disagreement(results, f"`{name}` has {key} {value!r}, its items give {due!r}")
    if lookup(part, "output_type", results) == "multiple_choice":
        for one in filter(_is_misjudged, own):
            yield Disagreement(samples, f"`{one.id}`: `acc` is not what the log-likelihoods give")


def _is_misjudged(one: Sample) -> bool:
    """Whether `acc` is not: the likeliest of the choices is the target. Only where that is one number."""
    if "acc" not in one.metrics or "acc_mutual_info" in one.metrics or type(one.target) is not int:
        return False
    contexts = {argument[0] for argument in one.arguments if isinstance(argument, list) and argument}
    scores = [answer[0] for answer in one.filtered if isinstance(answer, list) and len(answer) == 2]
    if len(contexts) != 1 or len(scores) != len(one.arguments) or not 0 <= one.target < len(scores):
        return False
    return (scores.index(max(scores)) == one.target) != bool(one.metrics["acc"])


_CHECKS = {"base": _base, "trained": _trained}
BASE, TRAINED = (
    Kind(
        path=f"harness/{which}.json",
        name=f"{which} results of the harness",
        holds=f"the harness's own results for the {which} model",
        when=when_evaluated("harness", which),
        integrity=(check,),
    )
    for which, check in _CHECKS.items()
)
BASE_SAMPLES, TRAINED_SAMPLES = (
    Kind(
        path=f"harness/{which}.jsonl",
        name=f"{which} answers to the harness",
        holds=f"every item of the tasks as the {which} model met it, and what it scored",
        when=when_evaluated("harness", which),
        schema=Sample,
        compared=(Compared("id", of_the_end=which == "trained"),),
    )
    for which in _CHECKS
)
SUMMARY = Kind(
    path="harness_summary.json",
    name="summary of the harness",
    holds="every metric of the harness's tasks for both models, and their comparison",
    when=when_evaluated("harness", "base"),
    integrity=(_recomputed,),
)
