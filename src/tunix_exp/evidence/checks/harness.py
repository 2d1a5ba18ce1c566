"""That the harness's results are what its items give: summed up and compared anew, without the harness."""

import math
from collections.abc import Iterator
from typing import Any

from tunix_exp.evidence import layout
from tunix_exp.evidence.harness import documents_hash, harness_headline, harness_in_words
from tunix_exp.evidence.manifest import HarnessEval
from tunix_exp.evidence.opened import Disagreement, OpenedRun, lookup, same_figures
from tunix_exp.evidence.strict_json import BrokenFile
from tunix_exp.scoring.harness import Outcome, Sample, aggregated, harness_summary

BASE = (layout.BASE_HARNESS, layout.BASE_SAMPLES)
TRAINED = (layout.TRAINED_HARNESS, layout.TRAINED_SAMPLES)

# The harness adds up in another order.
_RELATIVE = 1e-9


def base(run: OpenedRun) -> Iterator[Disagreement]:
    """The base model's results are what its items give, and those are the manifest's documents."""
    yield from _results(run, *BASE)
    says = run.manifest.eval
    assert isinstance(says, HarnessEval)  # else these files may not lie here
    documents = {(one.task, one.doc_id): one.doc_hash for one in run.outcome(*BASE).samples}
    if len(documents) != says.rows:
        yield Disagreement(layout.BASE_SAMPLES, f"has {len(documents)} items, the manifest {says.rows}")
    if documents_hash((*key, digest) for key, digest in documents.items()) != says.sha256:
        yield Disagreement(layout.BASE_SAMPLES, "is not of the documents of `eval.sha256` in the manifest")


def trained(run: OpenedRun) -> Iterator[Disagreement]:
    """So are the trained model's, and it was asked what the base model was asked."""
    yield from _results(run, *TRAINED)
    asked = [[one.same_question for one in run.outcome(*part).samples] for part in (BASE, TRAINED)]
    if asked[0] != asked[1]:
        yield Disagreement(layout.TRAINED_SAMPLES, f"was not asked what {layout.BASE_SAMPLES} was")


def summary(run: OpenedRun) -> Iterator[Disagreement]:
    """The summary is what results and items give, and headline and pages are what the summary gives."""
    says = run.json(layout.HARNESS_SUMMARY)
    present = [run.has(name) for name in TRAINED]
    if any(present) and not all(present):
        return  # that one is missing has been said already
    before, after = run.outcome(*BASE), run.outcome(*TRAINED) if all(present) else None
    if after is not None and [o.id for o in before.samples] != [o.id for o in after.samples]:
        return  # and so has this
    resamples, seed = run.count("eval.resamples"), run.setting("seed")
    if resamples is None or type(seed) is not int:
        raise BrokenFile(layout.CONFIG, f"`eval.resamples` is {resamples!r} and `seed` is {seed!r}")
    due = harness_summary(before, after, resamples=resamples, seed=seed)
    for key in sorted(due.keys() | says.keys()):
        if key not in due or key not in says or not same_figures(due[key], says[key]):
            yield Disagreement(layout.HARNESS_SUMMARY, f"`{key}` is not what results and items give")
    if run.manifest.headline is not None and run.manifest.headline != harness_headline(says):
        yield Disagreement(layout.MANIFEST, f"`headline` is not what {layout.HARNESS_SUMMARY} gives")
    for page in (layout.README, layout.REPORT):
        if run.has(page) and not run.tells(page, harness_in_words(due)):
            yield Disagreement(page, f"does not say what {layout.HARNESS_SUMMARY} has as the result")


def _results(run: OpenedRun, results: str, samples: str) -> Iterator[Disagreement]:
    outcome = run.outcome(results, samples)
    ids = [one.id for one in outcome.samples]
    if len(set(ids)) != len(ids):
        yield Disagreement(samples, "has an id twice")
    says = run.manifest.eval
    if isinstance(says, HarnessEval) and lookup(outcome.results, "lm_eval", results) != says.lm_eval:
        yield Disagreement(results, f"is not of lm-eval {says.lm_eval}, as the manifest says")
    tasks = lookup(outcome.results, "tasks", results)
    for name in sorted({one.task for one in outcome.samples} ^ tasks.keys()):
        yield Disagreement(results, f"the task `{name}` is not both here and in {samples}")
    for name, part in tasks.items():
        yield from _task(outcome, name, part, results, samples)


def _task(
    outcome: Outcome, name: str, part: dict[str, Any], results: str, samples: str
) -> Iterator[Disagreement]:
    own = [one for one in outcome.samples if one.task == name]
    asked = len({one.doc_id for one in own})
    if asked != lookup(part, "n_items", results):
        yield Disagreement(results, f"`{name}` has {part['n_items']} items, {samples} has {asked}")
    for key, metric in lookup(part, "metrics", results).items():
        value = lookup(metric, "value", results)
        due = aggregated(outcome.scores(name, key), lookup(metric, "aggregation", results))
        if due is not None and not (
            type(value) in (int, float) and math.isclose(value, due, rel_tol=_RELATIVE, abs_tol=1e-12)
        ):
            yield Disagreement(results, f"`{name}` has {key} {value!r}, its items give {due!r}")
    if lookup(part, "output_type", results) == "multiple_choice":
        for one in own:
            if _is_misjudged(one):
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
