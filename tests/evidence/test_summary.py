from typing import Any

from tunix_exp.evidence.summary import eval_summary, headline
from tunix_exp.scoring.form import Form
from tunix_exp.scoring.paired import Evaluation, ItemLoss, compare, compare_losses
from tunix_exp.scoring.scorecard import Prediction


def _predictions(correct: str) -> list[Prediction]:
    return [
        Prediction(
            id=f"item-{item}",
            prompt="p",
            expected_answer="1",
            output="1" if mark == "+" else "2",
            extracted_answer="1" if mark == "+" else "2",
            correct=mark == "+",
            section="core",
            category=None,
            difficulty=None,
            tokens=1,
            stop_reason="eos",
        )
        for item, mark in enumerate(correct)
    ]


def _evaluation(correct: str, nats: float) -> Evaluation:
    losses = [ItemLoss(f"item-{item}", nats * 2, 2) for item in range(len(correct))]
    return Evaluation(_predictions(correct), losses)


def _summary(base: str, trained: str) -> dict[str, Any]:
    return eval_summary(_evaluation(base, 2.0), _evaluation(trained, 1.0), resamples=1000, seed=7, form=None)


def test_the_comparison_is_paired() -> None:
    summary = _summary("+--+", "-+++")
    comparison = summary["comparison"]
    losses = comparison.pop("heldout_loss")
    assert comparison == compare(_predictions("+--+"), _predictions("-+++"), resamples=1000, seed=7)
    before, after = _evaluation("+--+", 2.0), _evaluation("-+++", 1.0)
    assert losses == compare_losses(before.losses, after.losses, resamples=1000, seed=7)
    assert (comparison["flips_to_right"], comparison["flips_to_wrong"]) == (2, 1)
    assert summary["base"]["primary_score"] == 0.5
    assert summary["base"]["heldout_loss_nats"] == 2.0
    assert summary["trained"]["scorecard"]["n_items"] == 4


def test_the_headline_has_both_scores_and_their_difference() -> None:
    line = headline(_summary("+" + "-" * 29, "+" * 30))
    assert (line.trained_score, line.difference, line.n_items) == (1.0, 29 / 30, 30)


def test_without_a_trained_model_there_is_one_score() -> None:
    summary = eval_summary(_evaluation("+---", 2.0), None, resamples=1000, seed=0, form=None)
    assert summary["trained"] is None
    assert summary["comparison"] is None
    assert (headline(summary).base_score, headline(summary).trained_score) == (0.25, None)


def test_answers_in_the_form_of_the_template_are_counted_right_or_wrong() -> None:
    ones = Form("{reasoning}1{answer}", "{answer}1")  # of the outputs, 1 and 2, neither
    any_of_them = Form("{reasoning}\n{answer}", "{answer}")
    for form, base, trained in ((ones, 0, 0), (any_of_them, 4, 4), (None, None, None)):
        summary = eval_summary(
            _evaluation("+--+", 2.0), _evaluation("-+++", 1.0), resamples=1000, seed=7, form=form
        )
        assert (summary["base"]["well_formed"], summary["trained"]["well_formed"]) == (base, trained)
