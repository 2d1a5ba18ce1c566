"""`eval_summary.json`: the scores of both models and their comparison, by an extractor that it names."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tunix_exp.evidence.kinds import config, data_card, item_losses, predictions
from tunix_exp.evidence.kinds.kind import Compared, Disagreement, Found, Kind, when_evaluated
from tunix_exp.evidence.layout import MANIFEST
from tunix_exp.evidence.opened import OpenedRun, differs, lookup, same_figures
from tunix_exp.evidence.sections import Finding, Headline, ItemsEval
from tunix_exp.evidence.strict_json import BrokenFile
from tunix_exp.evidence.summary import Baseline, eval_summary, headline
from tunix_exp.scoring.classes import Writing, classified
from tunix_exp.scoring.extract import EXTRACTOR_VERSION
from tunix_exp.scoring.form import Form, form_of
from tunix_exp.scoring.match import compare
from tunix_exp.scoring.paired import Evaluation
from tunix_exp.scoring.scorecard import Prediction, score
from tunix_exp.scoring.stop import answered, place
from tunix_exp.scoring.symbolic import REMEDY

# Of runs whose manifest is of version 1. This version cannot score as it did, nor count by rules.
_EARLIER_EXTRACTOR = "v1"
_LATER_KEYS = frozenset({"matched_by", "undecided"})
# Version 1 held the result in words too, which are now rendered from the figures.
WORDS = frozenset({"sentence"})
_LATER = WORDS | {"well_formed"}


def _is_earlier(run: OpenedRun) -> bool:
    extractor = run.object(KIND).get("extractor") if run.has(KIND.path) else None
    return run.manifest.schema_version == 1 and extractor == _EARLIER_EXTRACTOR


def _answers(run: OpenedRun) -> Iterator[tuple[str, list[Prediction], tuple[str, ...]]]:
    """Every file of answers, and the texts at which they end: none where none were recorded."""
    items, baseline = run.manifest.eval, run.manifest.baseline
    stop = (items.stop or ()) if isinstance(items, ItemsEval) else ()
    yield predictions.BASE.path, run.rows(predictions.BASE), stop
    if run.has(predictions.TRAINED.path):
        yield predictions.TRAINED.path, run.rows(predictions.TRAINED), stop
    if baseline is not None:
        yield predictions.BASELINE.path, run.rows(predictions.BASELINE), baseline.stop or ()


def _scored_again(run: OpenedRun) -> Found:
    """Every answer is scored and classed as its output is, and ended where the config says."""
    items, asked = run.manifest.eval, run.setting_if_any("eval.stop")
    if isinstance(items, ItemsEval) and asked is not None and list(items.stop or ()) != asked:
        yield Disagreement(MANIFEST, f"`eval.stop` is not config.json's, {asked}")
    form, separator = _form(run), run.setting_if_any("data.template.step_separator")
    for file, answers, stop in _answers(run):
        writing = Writing(stop, form, str(separator))
        for line, one in enumerate(answers, start=1):
            for what in _misjudged(one, writing, is_earlier=_is_earlier(run)):
                yield Disagreement(file, f"line {line}: {what}")


def _misjudged(one: Prediction, writing: Writing, *, is_earlier: bool) -> Iterator[str]:
    if (one.stop_reason == "stop") != (place(one.output, writing.stop) is not None):
        yield f"`stop_reason` is {one.stop_reason!r}, and answers end at {list(writing.stop)}"
    if not is_earlier:
        yield from _scored_otherwise(one, tuple(writing.stop))
    if one.question is not None and one.classification is not None:
        yield from differs(
            "classification", one.classification.to_dict(), "its output", _class_of(one, writing)
        )


def _class_of(one: Prediction, writing: Writing) -> dict[str, Any]:
    """What became of the answer, from its output again."""
    assert one.question is not None
    return classified(
        one.output,
        question=one.question,
        extracted=one.extracted_answer,
        correct=one.correct,
        stop_reason=one.stop_reason,
        writing=writing,
    ).to_dict()


def _scored_otherwise(one: Prediction, stop: tuple[str, ...]) -> Iterator[str]:
    extracted, correct = score(answered(one.output, stop), one.expected_answer)
    if extracted != one.extracted_answer:
        yield f"`extracted_answer` is {one.extracted_answer!r}, the output gives {extracted!r}"
    elif correct != one.correct:
        is_undecided = compare(extracted, one.expected_answer).rule == "undecided"
        more = f", undecided without the extra: {REMEDY}" if is_undecided else ""
        yield f"`correct` is {one.correct}, scored again {correct}{more}"


def _by_an_earlier_extractor(run: OpenedRun) -> Iterator[Finding]:
    """Answers that an earlier version scored, which this one cannot score as that did."""
    if _is_earlier(run):
        every = [(one, stop) for _, answers, stop in _answers(run) for one in answers]
        others = sum(any(_scored_otherwise(one, stop)) for one, stop in every)
        yield Finding(
            code="scored by an earlier extractor",
            where=f"{KIND.path}, extractor",
            sentence=f"extractor {_EARLIER_EXTRACTOR} scored the answers; {EXTRACTOR_VERSION} of this "
            f"version scores {others} of {len(every)} otherwise",
        )


def _recomputed(run: OpenedRun) -> Found:
    """It is what predictions and losses give, and the headline and the verdict are what it gives."""
    due = _due(run)
    if due is None:
        return  # what keeps the models apart has been said already
    if _is_earlier(run):
        due = without(due, _LATER_KEYS) | {"extractor": _EARLIER_EXTRACTOR}
    wrong = list(not_recomputed(run, KIND, due, "the predictions and losses", headline))
    yield from wrong
    verdict = None if due["baseline"] is None else due["baseline"]["verdict"]
    if not wrong and verdict != run.manifest.verdict:
        yield Disagreement(MANIFEST, f"`verdict` is {run.manifest.verdict!r}, {KIND.path} gives {verdict!r}")


def not_recomputed(
    run: OpenedRun,
    kind: Kind,
    due: dict[str, Any],
    sources: str,
    headline_of: Callable[[dict[str, Any]], Headline],
) -> Found:
    """Where a summary is not `due`, what its sources give, or the manifest's headline not what it gives."""
    says = run.object(kind)
    if run.manifest.schema_version == 1:
        due, says = without(due, _LATER), without(says, _LATER)
    for key in sorted(due.keys() | says.keys()):
        if key in ("extractor", "statistics") and key in says and says[key] != due[key]:
            yield f"was made by {key} {says[key]}, and this package has {due[key]}"
        elif key not in due or key not in says or not same_figures(due[key], says[key]):
            yield f"`{key}` is not what {sources} give"
    recorded = run.manifest.headline
    if same_figures(due, says) and recorded is not None:
        for name, value in headline_of(says):
            for what in differs(f"headline.{name}", getattr(recorded, name), kind.path, value):
                yield Disagreement(MANIFEST, what)


def _due(run: OpenedRun) -> dict[str, Any] | None:
    """The summary of the answers and losses; `None` where these are not of the same items."""
    base, trained, baseline = Evaluation(run.rows(predictions.BASE), run.rows(item_losses.BASE)), None, None
    parts = [base.predictions, base.losses]
    if run.facts.trains:
        trained = Evaluation(run.rows(predictions.TRAINED), run.rows(item_losses.TRAINED))
        parts += [trained.predictions, trained.losses]
    if run.manifest.baseline is not None:
        baseline = Baseline(run.manifest.baseline, run.rows(predictions.BASELINE))
        parts.append(baseline.predictions)
    ids = [[one.id for one in part] for part in parts]
    tokens = [[one.tokens for one in model.losses] for model in (base, trained) if model is not None]
    if not ids[0] or any(some != ids[0] for some in ids) or tokens[0] != tokens[-1]:
        return None
    resamples, seed = draws(run)
    return eval_summary(base, trained, resamples=resamples, seed=seed, form=_form(run), baseline=baseline)


def _form(run: OpenedRun) -> Form | None:
    """The form of the responses; version 1 recorded none."""
    if run.manifest.schema_version == 1:
        return None
    template = run.setting("data.template")
    response, without_reasoning = (
        lookup(template, key, config.KIND.path) for key in ("response", "response_without_reasoning")
    )
    sets = data_card.train_facts(run.object(data_card.KIND)).values()
    fields = {part for facts in sets for part in lookup(facts, "fields", data_card.KIND.path)}
    return form_of(str(response), str(without_reasoning), fields)


def draws(run: OpenedRun) -> tuple[int, int]:
    """How often the intervals are drawn, and by which seed."""
    resamples, seed = run.count("eval.resamples"), run.setting("seed")
    if resamples is None or type(seed) is not int:
        raise BrokenFile(config.KIND.path, f"`eval.resamples` is {resamples!r} and `seed` is {seed!r}")
    return resamples, seed


def without(value: Any, keys: frozenset[str]) -> Any:
    """`value` with none of the keys, at whatever depth."""
    if not isinstance(value, dict):
        return value
    return {key: without(part, keys) for key, part in value.items() if key not in keys}


def _heldout_losses(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"held-out loss, {which}": summary[which]["heldout_loss_nats"]
        for which in ("base", "trained")
        if summary[which] is not None
    }


KIND = Kind(
    path="eval_summary.json",
    name="summary of the evaluation",
    holds="the scores of base and trained model, and their comparison",
    when=when_evaluated("items", "base"),
    integrity=(_scored_again, _recomputed),
    sanity=(_by_an_earlier_extractor,),
    compared=(Compared("value", values=_heldout_losses, of_the_end=True),),
)
