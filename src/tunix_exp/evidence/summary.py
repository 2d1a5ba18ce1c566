"""`eval_summary.json` and the headline: both computed from predictions, by the run and by `verify` alike."""

from collections.abc import Sequence
from typing import Any

from tunix_exp.evidence.manifest import Headline
from tunix_exp.scoring.extract import EXTRACTOR_VERSION
from tunix_exp.scoring.scorecard import Prediction, scorecard


def eval_summary(
    base: Sequence[Prediction],
    trained: Sequence[Prediction] | None,
    *,
    base_heldout_loss_nats: float,
    trained_heldout_loss_nats: float | None,
) -> dict[str, Any]:
    """The summary of both models on the same items in the same order; `trained` is `None` in mode eval."""
    return {
        "extractor": EXTRACTOR_VERSION,
        "base": _part(base, base_heldout_loss_nats),
        "trained": None if trained is None else _part(trained, trained_heldout_loss_nats),
        "comparison": None if trained is None else _comparison(base, trained),
    }


def headline(summary: dict[str, Any]) -> Headline:
    """The result of `summary` in one line, the same words for the same numbers."""
    base, trained, comparison = summary["base"], summary["trained"], summary["comparison"]
    n_items, base_score = base["scorecard"]["n_items"], base["primary_score"]
    if trained is None:
        text = f"{_percent(base_score)} of {n_items} items right"
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
        f"({100 * difference:+.1f} points)",
    )


def _part(predictions: Sequence[Prediction], heldout_loss_nats: float | None) -> dict[str, Any]:
    card = scorecard(predictions)
    return {
        "primary_score": card["primary_score"],
        "scorecard": card,
        "heldout_loss_nats": heldout_loss_nats,
    }


def _comparison(base: Sequence[Prediction], trained: Sequence[Prediction]) -> dict[str, Any]:
    pairs = [(before.correct, after.correct) for before, after in zip(base, trained, strict=True)]
    to_right, to_wrong = pairs.count((False, True)), pairs.count((True, False))
    return {
        "n_items": len(pairs),
        # from the counts, not from two rounded scores
        "difference": (to_right - to_wrong) / len(pairs),
        "flips_to_right": to_right,
        "flips_to_wrong": to_wrong,
    }


def _percent(score: float) -> str:
    return f"{100 * score:.1f} %"
