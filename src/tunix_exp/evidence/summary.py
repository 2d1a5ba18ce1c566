"""`eval_summary.json` and the headline: both computed from what each item gave, by run and `verify` alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunix_exp.evidence.sections import BaselineRecord, Headline, Verdict
from tunix_exp.scoring.extract import EXTRACTOR_VERSION
from tunix_exp.scoring.form import Form
from tunix_exp.scoring.paired import STATISTICS_VERSION, Evaluation, compare, compare_losses, mean_loss
from tunix_exp.scoring.scorecard import Prediction, scorecard


@dataclass(frozen=True, slots=True)
class Baseline:
    """The run that this one is measured against, and the answers of the model that it ended with."""

    record: BaselineRecord
    predictions: Sequence[Prediction]


def eval_summary(
    base: Evaluation,
    trained: Evaluation | None,
    *,
    resamples: int,
    seed: int,
    form: Form | None,
    baseline: Baseline | None = None,
) -> dict[str, Any]:
    """The summary of both models on the same items; `trained` is `None` in mode eval.

    `form` is that of the responses, where the rows of the training set have one.

    `resamples` and `seed` are those of the comparisons' intervals. Where there is a baseline, the model that
    the run ends with is measured against it.
    """
    return {
        "extractor": EXTRACTOR_VERSION,
        "statistics": STATISTICS_VERSION,
        "base": _part(base, form),
        "trained": None if trained is None else _part(trained, form),
        "comparison": None if trained is None else _comparison(base, trained, resamples, seed),
        "baseline": None if baseline is None else _measured(baseline, trained or base, resamples, seed),
    }


def headline(summary: dict[str, Any]) -> Headline:
    """The scores of `summary`, as the manifest has them."""
    base, trained, comparison = summary["base"], summary["trained"], summary["comparison"]
    return Headline(
        base_score=base["primary_score"],
        trained_score=None if trained is None else trained["primary_score"],
        difference=None if comparison is None else comparison["difference"],
        n_items=base["scorecard"]["n_items"],
    )


def _measured(baseline: Baseline, model: Evaluation, resamples: int, seed: int) -> dict[str, Any]:
    record = baseline.record
    comparison = compare(baseline.predictions, model.predictions, resamples=resamples, seed=seed)
    # rounded, so that a loss of 6 items in 300 is 2 points and not a hair more
    lost = round(-100 * comparison["difference"], 9)
    verdict: Verdict = "regressed" if lost > record.tolerance_points else "held"
    return {
        "run_id": record.run_id,
        "tolerance_points": record.tolerance_points,
        "verdict": verdict,
        "comparison": comparison,
    }


def _part(model: Evaluation, form: Form | None) -> dict[str, Any]:
    card = scorecard(model.predictions)
    return {
        "primary_score": card["primary_score"],
        "answer_tokens": sum(one.tokens for one in model.predictions),
        "answers_cut_off": sum(one.stop_reason == "length" for one in model.predictions),
        "well_formed": None if form is None else sum(form.fits(one.output) for one in model.predictions),
        "scorecard": card,
        "heldout_loss_nats": mean_loss(model.losses),
    }


def _comparison(base: Evaluation, trained: Evaluation, resamples: int, seed: int) -> dict[str, Any]:
    return {
        **compare(base.predictions, trained.predictions, resamples=resamples, seed=seed),
        "heldout_loss": compare_losses(base.losses, trained.losses, resamples=resamples, seed=seed),
    }
