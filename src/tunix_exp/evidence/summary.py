"""`eval_summary.json` and the headline: both computed from what each item gave, by run and `verify` alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunix_exp.evidence.manifest import BaselineRecord, Headline, Verdict
from tunix_exp.scoring.extract import EXTRACTOR_VERSION
from tunix_exp.scoring.paired import (
    NO_EVIDENCE,
    STATISTICS_VERSION,
    Evaluation,
    compare,
    compare_losses,
    mean_loss,
    points,
)
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
    baseline: Baseline | None = None,
) -> dict[str, Any]:
    """The summary of both models on the same items; `trained` is `None` in mode eval.

    `resamples` and `seed` are those of the comparisons' intervals. Where there is a baseline, the model that
    the run ends with is measured against it.
    """
    return {
        "extractor": EXTRACTOR_VERSION,
        "statistics": STATISTICS_VERSION,
        "base": _part(base),
        "trained": None if trained is None else _part(trained),
        "comparison": None if trained is None else _comparison(base, trained, resamples, seed),
        "baseline": None if baseline is None else _measured(baseline, trained or base, resamples, seed),
    }


def headline(summary: dict[str, Any]) -> Headline:
    """The result of `summary` in one line, the same words for the same numbers."""
    base, trained, comparison = summary["base"], summary["trained"], summary["comparison"]
    n_items, base_score = base["scorecard"]["n_items"], base["primary_score"]
    if trained is None:
        text = f"{_percent(base_score)} of {n_items} items right{_against(summary['baseline'])}"
        return Headline(
            base_score=base_score, trained_score=None, difference=None, n_items=n_items, text=text
        )
    trained_score, difference = trained["primary_score"], comparison["difference"]
    return Headline(
        base_score=base_score,
        trained_score=trained_score,
        difference=difference,
        n_items=n_items,
        text=f"{_percent(base_score)} → {_percent(trained_score)} of {n_items} items right "
        f"({points(difference)} points{certainty(comparison)}){_against(summary['baseline'])}",
    )


def result_in_words(summary: dict[str, Any]) -> list[str]:
    """The comparison's sentence, or the headline where nothing was trained; and the baseline's."""
    comparison, baseline = summary["comparison"], summary["baseline"]
    first = headline(summary).text if comparison is None else comparison["sentence"]
    return [first] if baseline is None else [first, baseline["sentence"]]


def _against(baseline: dict[str, Any] | None) -> str:
    if baseline is None:
        return ""
    change = points(baseline["comparison"]["difference"])
    return f"; {baseline['verdict']} against {baseline['run_id']} ({change} points)"


def _measured(baseline: Baseline, model: Evaluation, resamples: int, seed: int) -> dict[str, Any]:
    record = baseline.record
    comparison = compare(
        baseline.predictions, model.predictions, resamples=resamples, seed=seed, subject="This run"
    )
    # rounded, so that a loss of 6 items in 300 is 2 points and not a hair more
    lost = round(-100 * comparison["difference"], 9)
    verdict: Verdict = "regressed" if lost > record.tolerance_points else "held"
    return {
        "run_id": record.run_id,
        "tolerance_points": record.tolerance_points,
        "verdict": verdict,
        "sentence": f"Against the baseline {record.run_id}, of which {record.tolerance_points:g} points "
        f"may be lost, this run has {verdict}. {comparison['sentence']}",
        "comparison": comparison,
    }


def certainty(comparison: dict[str, Any]) -> str:
    """What a headline adds to a difference: its interval, or that there is no evidence of one."""
    if comparison["verdict"] == NO_EVIDENCE:
        return f": {NO_EVIDENCE}"
    low, high = map(points, comparison["interval_95"])
    return f", 95 % interval {low} to {high}"


def _part(model: Evaluation) -> dict[str, Any]:
    card = scorecard(model.predictions)
    return {
        "primary_score": card["primary_score"],
        "answer_tokens": sum(one.tokens for one in model.predictions),
        "answers_cut_off": sum(one.stop_reason == "length" for one in model.predictions),
        "scorecard": card,
        "heldout_loss_nats": mean_loss(model.losses),
    }


def _comparison(base: Evaluation, trained: Evaluation, resamples: int, seed: int) -> dict[str, Any]:
    return {
        **compare(base.predictions, trained.predictions, resamples=resamples, seed=seed),
        "heldout_loss": compare_losses(base.losses, trained.losses, resamples=resamples, seed=seed),
    }


def _percent(score: float) -> str:
    return f"{100 * score:.1f} %"
