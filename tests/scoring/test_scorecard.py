import dataclasses
import statistics

import pytest

from tunix_exp.errors import UserError
from tunix_exp.scoring import symbolic
from tunix_exp.scoring.scorecard import Prediction, scorecard

KEYS = [
    "id", "prompt", "expected_answer", "output", "extracted_answer", "correct", "section", "category",
    "difficulty", "tokens", "stop_reason",
]  # fmt: skip


def prediction(name, correct=True, **changes):
    base = Prediction(name, "1 + 1", "2", "Answer: 2", "2", correct, "core", "arithmetic", "easy", 4, "eos")
    return dataclasses.replace(base, **changes)


def test_a_prediction_has_exactly_the_keys_of_its_file_and_survives_the_round_trip():
    row = prediction("a").to_dict()
    assert list(row) == KEYS
    assert Prediction.from_dict(row, where="base.jsonl:1") == prediction("a")


def test_all_faults_of_a_row_are_told_at_once_with_their_place():
    row = prediction("a").to_dict() | {"correct": 1, "stop_reason": "tired", "score": 1.0}
    del row["prompt"]
    with pytest.raises(UserError) as caught:
        Prediction.from_dict(row, where="predictions/base.jsonl:3")
    assert caught.value.what == (
        "not a prediction: `prompt` is missing; `score` is unknown; `correct` is 1, not bool; "
        "`stop_reason` is 'tired', not eos, length or stop"
    )
    assert caught.value.where == "predictions/base.jsonl:3"
    assert caught.value.remedy == (
        "a prediction has exactly the keys " + ", ".join([*KEYS, "question", "classification"])
    )


def test_a_null_answer_is_allowed_and_a_null_output_is_not():
    row = prediction("a", extracted_answer=None).to_dict()
    assert Prediction.from_dict(row, where="x").extracted_answer is None
    with pytest.raises(UserError, match="`output` is None, not str"):
        Prediction.from_dict(row | {"output": None}, where="x")


def test_the_score_is_the_fraction_correct_with_the_population_deviation():
    card = scorecard([prediction("a"), prediction("b", False), prediction("c"), prediction("d")])
    assert (card["n_items"], card["n_scored"], card["n_skipped"]) == (4, 4, 0)
    assert card["primary_score"] == 0.75
    assert card["stddev"] == pytest.approx(statistics.pstdev([1, 0, 1, 1]))


def test_groups_hold_their_own_counts_and_scores_in_alphabetical_order():
    card = scorecard(
        [
            prediction("a", section="edge"),
            prediction("b", False),
            prediction("c"),
            prediction("d", difficulty="hard"),
        ]
    )
    assert list(card["per_section"]) == ["core", "edge"]
    assert card["per_section"]["core"] == {"n_items": 3, "primary_score": 2 / 3}
    assert card["per_difficulty"]["hard"] == {"n_items": 1, "primary_score": 1.0}


def test_right_answers_are_counted_by_the_rule_that_found_them_so():
    card = scorecard(
        [
            prediction("a"),
            prediction("b", extracted_answer="2.0"),
            prediction("c", extracted_answer="4/2"),
            prediction("d", False, extracted_answer="3"),
        ]
    )
    assert card["matched_by"] == {"identical": 1, "number": 2}
    assert card["undecided"] == {"n_items": 0, "remedy": None}


def test_an_answer_that_only_the_extra_can_judge_is_counted_with_the_remedy(monkeypatch):
    one = prediction("a", False, expected_answer="\\tan^2(y) + 1", extracted_answer="\\sec^2(y)")
    monkeypatch.setattr(symbolic, "is_installed", lambda: False)
    assert scorecard([one])["undecided"] == {"n_items": 1, "remedy": "uv sync --extra math"}


def test_items_without_an_attribute_are_in_no_group():
    card = scorecard([prediction("a", section=None, category=None), prediction("b", section=None)])
    assert card["per_section"] == {}
    assert card["per_category"] == {"arithmetic": {"n_items": 1, "primary_score": 1.0}}


def test_a_missing_prediction_counts_as_wrong_and_as_skipped():
    card = scorecard([prediction("a")], ["a", "b"])
    assert (card["n_items"], card["n_scored"], card["n_skipped"], card["primary_score"]) == (2, 1, 1, 0.5)
    assert card["stddev"] == pytest.approx(statistics.pstdev([1, 0]))


def test_all_missing_scores_zero():
    assert scorecard([], ["a"])["primary_score"] == 0.0


def test_two_predictions_for_one_item_are_refused():
    with pytest.raises(UserError, match="two predictions answer the same item: a"):
        scorecard([prediction("a"), prediction("a")])


def test_an_id_that_names_two_items_is_refused():
    with pytest.raises(UserError, match="the same id names two items: b"):
        scorecard([], ["a", "b", "b"])


def test_a_prediction_for_an_unknown_item_is_refused():
    with pytest.raises(
        UserError, match=r"6 predictions answer items that are not in the eval set: a0, .* and 1 more"
    ):
        scorecard([prediction(f"a{n}") for n in range(6)], ["b"])


def test_no_item_at_all_is_refused():
    with pytest.raises(UserError, match="there is no item to score"):
        scorecard([])
