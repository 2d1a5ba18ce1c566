from tunix_exp.report.classes import LABELS, class_table, in_words
from tunix_exp.scoring.classes import CLASSES, Classification


def part(n_computed: int, **counts: int) -> dict:
    classes = {"n_steps_computed": n_computed, "counts": dict.fromkeys(CLASSES, 0) | counts}
    return {"scorecard": {"n_items": 4, "classes": classes}}


def test_the_table_has_the_classes_that_occur_in_their_order():
    summary = {"base": part(4, wrong_step=3, right=1), "trained": part(4, right=4)}
    shown = class_table(summary)
    assert shown is not None
    assert shown.rows == [("right", "1", "4"), ("wrong step", "3", "0")]
    assert shown.note == "Steps computed from the question: 4 of 4 items."


def test_the_table_says_where_no_step_can_be_computed_and_is_not_there_where_no_class_was_recorded():
    shown = class_table({"base": part(0, right=4), "trained": None})
    assert shown is not None
    assert shown.columns == ("answers", "base")
    assert shown.note == "No item's steps can be computed from its question: steps were not judged."
    assert class_table({"base": {"scorecard": {"n_items": 4}}, "trained": None}) is None
    assert class_table({"tasks": {}, "base": None, "trained": None}) is None


def test_a_class_in_words_names_the_step_and_what_stands_there():
    assert in_words(None) is None
    assert in_words(Classification("right", True, None, None, None)) is None
    assert in_words(Classification("cut_off", True, None, None, None)) == "cut off at the token limit"
    wrong = Classification("wrong_step", True, 2, "1+1=2", None)
    assert in_words(wrong) == "wrong step: step 2, expected “1+1=2”, found none"
    assert set(LABELS) == set(CLASSES)
