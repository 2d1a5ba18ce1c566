from tunix_exp.evidence.summary import eval_summary, headline
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


def test_the_comparison_is_paired() -> None:
    summary = eval_summary(
        _predictions("+--+"),
        _predictions("-+++"),
        base_heldout_loss_nats=2.0,
        trained_heldout_loss_nats=1.0,
    )
    assert summary["comparison"] == {
        "n_items": 4,
        "difference": 0.25,
        "flips_to_right": 2,
        "flips_to_wrong": 1,
    }
    assert summary["base"]["primary_score"] == 0.5
    assert summary["base"]["heldout_loss_nats"] == 2.0
    assert summary["trained"]["scorecard"]["n_items"] == 4


def test_the_headline_says_both_scores_and_their_difference() -> None:
    summary = eval_summary(
        _predictions("+---"), _predictions("+++-"), base_heldout_loss_nats=2.0, trained_heldout_loss_nats=1.0
    )
    line = headline(summary)
    assert line.text == "25.0 % → 75.0 % of 4 items right (+50.0 points)"
    assert (line.base_score, line.trained_score, line.difference, line.n_items) == (0.25, 0.75, 0.5, 4)


def test_without_a_trained_model_there_is_one_score() -> None:
    summary = eval_summary(
        _predictions("+---"), None, base_heldout_loss_nats=2.0, trained_heldout_loss_nats=None
    )
    assert summary["trained"] is None
    assert summary["comparison"] is None
    assert headline(summary).text == "25.0 % of 4 items right"
    assert headline(summary).trained_score is None
