"""That every score is what the answers give: extracted, matched, counted and compared anew."""

import math
from collections.abc import Iterator
from typing import Any

from tunix_exp.evidence import layout
from tunix_exp.evidence.manifest import ItemsEval
from tunix_exp.evidence.opened import Disagreement, OpenedRun, bundled, same_figures
from tunix_exp.evidence.strict_json import BrokenFile, parse_json
from tunix_exp.evidence.summary import Baseline, eval_summary, headline, result_in_words
from tunix_exp.scoring.match import compare
from tunix_exp.scoring.paired import GROUPS, Evaluation, mean_loss
from tunix_exp.scoring.scorecard import score
from tunix_exp.scoring.stop import answered, place
from tunix_exp.scoring.symbolic import REMEDY

# One program computes both losses, but not every device adds up in one order: beyond that they must agree.
# A sum of thousands of products wanders by some tens of its type's last digits, errors of layers do not all
# point one way, and a mean over tokens takes away most of it. What is less than this is a finding.
_ROUNDING = {"float32": 2**-14, "bfloat16": 2**-5}

BASE = (layout.BASE_PREDICTIONS, layout.BASE_LOSSES)
TRAINED = (layout.TRAINED_PREDICTIONS, layout.TRAINED_LOSSES)


def base_predictions(run: OpenedRun) -> Iterator[Disagreement]:
    """Every answer of the base model is scored as its output is."""
    yield from _scored_again(run, layout.BASE_PREDICTIONS, _stop(run))
    asked = run.setting("eval.stop")
    if asked is not None and list(_stop(run)) != asked:
        yield Disagreement(layout.MANIFEST, f"`eval.stop` is not config.json's, {asked}")


def trained_predictions(run: OpenedRun) -> Iterator[Disagreement]:
    """Every answer of the trained model is, and it is to the base model's items."""
    yield from _scored_again(run, layout.TRAINED_PREDICTIONS, _stop(run))
    base = run.predictions(layout.BASE_PREDICTIONS)
    trained = run.predictions(layout.TRAINED_PREDICTIONS)
    if [one.id for one in trained] != [one.id for one in base]:
        yield Disagreement(layout.TRAINED_PREDICTIONS, f"has other ids than {layout.BASE_PREDICTIONS}")
        return
    for line, (before, after) in enumerate(zip(base, trained, strict=True), start=1):
        for name in ("prompt", "expected_answer", "section", "category", "difficulty"):
            if getattr(before, name) != getattr(after, name):
                what = f"line {line}: `{name}` differs from {layout.BASE_PREDICTIONS}"
                yield Disagreement(layout.TRAINED_PREDICTIONS, what)


def items(run: OpenedRun) -> Iterator[Disagreement]:
    """The items are those of the set that is shipped with the package, in its order."""
    source = run.setting("eval.source")
    content = bundled(source)
    if content is None or run.setting("eval.fields.answer_marker") is not None:
        return  # not at hand, or answers that stand inside other text
    fields = {"expected_answer": run.setting("eval.fields.answer"), "id": run.setting("eval.fields.id")}
    fields |= {name: run.setting(f"eval.fields.{name}") for name in GROUPS}
    rows = [parse_json(line, file=source) for line in content.decode().splitlines()]
    predictions = run.predictions(layout.BASE_PREDICTIONS)
    for line, (one, row) in enumerate(zip(predictions, rows, strict=False), start=1):
        for name, field in fields.items():
            if field in row and getattr(one, name) != row[field]:
                what = f"line {line}: `{name}` is {getattr(one, name)!r}, but {source} has {row[field]!r}"
                yield Disagreement(layout.BASE_PREDICTIONS, what)


def _stop(run: OpenedRun) -> tuple[str, ...]:
    """The texts that end an answer."""
    items = run.manifest.eval
    return items.stop if isinstance(items, ItemsEval) else ()


def _scored_again(run: OpenedRun, name: str, stop: tuple[str, ...]) -> Iterator[Disagreement]:
    seen: set[str] = set()
    predictions = run.predictions(name)
    for line, one in enumerate(predictions, start=1):
        if one.id in seen:
            yield Disagreement(name, f"line {line}: the id `{one.id}` is there twice")
        seen.add(one.id)
        extracted, correct = score(answered(one.output, stop), one.expected_answer)
        if (one.stop_reason == "stop") != (place(one.output, stop) is not None):
            said = f"`stop_reason` is {one.stop_reason!r}, and the texts that end an answer are {list(stop)}"
            yield Disagreement(name, f"line {line}: {said}")
        if extracted != one.extracted_answer:
            said = f"`extracted_answer` is {one.extracted_answer!r}, the output gives {extracted!r}"
            yield Disagreement(name, f"line {line}: {said}")
        elif correct != one.correct:
            what = f"line {line}: `correct` is {one.correct}, scored again {correct}"
            is_undecided = compare(extracted, one.expected_answer).rule == "undecided"
            yield Disagreement(
                name, what + (f", undecided without the extra: {REMEDY}" if is_undecided else "")
            )
    items = run.manifest.eval
    if isinstance(items, ItemsEval) and len(predictions) != items.rows:
        yield Disagreement(name, f"has {len(predictions)} items, the manifest {items.rows}")


def summary(run: OpenedRun) -> Iterator[Disagreement]:
    """The summary is what predictions and losses give, and the headline what the summary gives."""
    says = run.json(layout.EVAL_SUMMARY)
    base = run.evaluation(*BASE)
    present = [run.has(name) for name in TRAINED]
    if any(present) and not all(present):
        return  # that one is missing has been said already
    trained = run.evaluation(*TRAINED) if all(present) else None
    if not base.predictions or (trained is not None and not _are_pairs(base, trained)):
        return  # the predictions and the losses have said so
    resamples, seed = run.count("eval.resamples"), run.setting("seed")
    if resamples is None or type(seed) is not int:
        raise BrokenFile(layout.CONFIG, f"`eval.resamples` is {resamples!r} and `seed` is {seed!r}")
    record, baseline = run.manifest.baseline, None
    if record is not None:
        if not run.has(layout.BASELINE_PREDICTIONS):
            return  # that it is missing has been said already
        baseline = Baseline(record, run.predictions(layout.BASELINE_PREDICTIONS))
        if [one.id for one in baseline.predictions] != [one.id for one in base.predictions]:
            return  # and so has this
    due = eval_summary(base, trained, resamples=resamples, seed=seed, baseline=baseline)
    for key in sorted(due.keys() | says.keys()):
        if key in ("extractor", "statistics") and key in says and says[key] != due[key]:
            what = f"was made by {key} {says[key]}, and this package has {due[key]}"
            yield Disagreement(layout.EVAL_SUMMARY, what)
        elif key not in due or key not in says or not same_figures(due[key], says[key]):
            yield Disagreement(layout.EVAL_SUMMARY, f"`{key}` is not what the predictions and losses give")
    if same_figures(due, says):
        yield from _headline(run, says)
        verdict = None if due["baseline"] is None else due["baseline"]["verdict"]
        if verdict != run.manifest.verdict:
            what = f"`verdict` is {run.manifest.verdict!r}, {layout.EVAL_SUMMARY} gives {verdict!r}"
            yield Disagreement(layout.MANIFEST, what)
    for page in (layout.README, layout.REPORT):
        if run.has(page) and not all(run.tells(page, sentence) for sentence in result_in_words(due)):
            yield Disagreement(page, f"does not say what {layout.EVAL_SUMMARY} has as the result")


def _are_pairs(base: Evaluation, trained: Evaluation) -> bool:
    ids = [one.id for one in base.predictions]
    others = (base.losses, trained.predictions, trained.losses)
    tokens = [[one.tokens for one in part.losses] for part in (base, trained)]
    return all([one.id for one in part] == ids for part in others) and tokens[0] == tokens[1]


def baseline(run: OpenedRun) -> Iterator[Disagreement]:
    """The baseline is the config's, and its answers are to the same items, scored as their outputs are."""
    named, record = run.setting("eval.baseline"), run.manifest.baseline
    tolerance = run.setting("eval.baseline_tolerance_points")
    if (named is None) != (record is None) or (record is not None and record.tolerance_points != tolerance):
        yield Disagreement(layout.MANIFEST, "`baseline` is not that of `eval.baseline` in config.json")
    name = layout.BASELINE_PREDICTIONS
    if (record is None) == run.has(name):
        yield Disagreement(name, "is missing" if record else "cannot come from a run without a baseline")
    if run.has(name) and record is not None:
        yield from _scored_again(run, name, record.stop)
        base = [(one.id, one.expected_answer) for one in run.predictions(layout.BASE_PREDICTIONS)]
        if [(one.id, one.expected_answer) for one in run.predictions(name)] != base:
            yield Disagreement(name, f"is of other items than {layout.BASE_PREDICTIONS}")


def base_losses(run: OpenedRun) -> Iterator[Disagreement]:
    """The base model's losses are of the items that it answered."""
    yield from _same_items(run, layout.BASE_LOSSES, layout.BASE_PREDICTIONS)


def trained_losses(run: OpenedRun) -> Iterator[Disagreement]:
    """The trained model's are, of as many tokens, and the last of the curve is their mean."""
    yield from _same_items(run, layout.TRAINED_LOSSES, layout.TRAINED_PREDICTIONS)
    base, trained = run.losses(layout.BASE_LOSSES), run.losses(layout.TRAINED_LOSSES)
    for line, (before, after) in enumerate(zip(base, trained, strict=False), start=1):
        if before.tokens != after.tokens:
            what = f"line {line}: `tokens` differs from {layout.BASE_LOSSES}"
            yield Disagreement(layout.TRAINED_LOSSES, what)
    last = run.heldout[-1] if run.heldout else None
    if last is None or last["step"] != run.manifest.steps_done:
        return
    rounding = _ROUNDING[run.setting("device.compute_dtype")]
    if not math.isclose(last["loss_nats"], mean_loss(trained), rel_tol=rounding):
        what = f"gives {mean_loss(trained)}, but {layout.HELDOUT} ends with {last['loss_nats']}"
        yield Disagreement(layout.TRAINED_LOSSES, what)


def _same_items(run: OpenedRun, losses: str, predictions: str) -> Iterator[Disagreement]:
    if [one.id for one in run.losses(losses)] != [one.id for one in run.predictions(predictions)]:
        yield Disagreement(losses, f"has other ids than {predictions}")


def _headline(run: OpenedRun, summary: dict[str, Any]) -> Iterator[Disagreement]:
    due, says = headline(summary), run.manifest.headline
    if says is None:
        return  # the rules have said so
    for field in type(due).model_fields:
        if getattr(due, field) != getattr(says, field):
            what = f"`headline.{field}` is {getattr(says, field)!r}, {layout.EVAL_SUMMARY} gives "
            yield Disagreement(layout.MANIFEST, what + repr(getattr(due, field)))
