"""Two hundred answers that fail by known rules land in their classes, with the step that is wrong."""

from collections import Counter

import pytest

from tests.scoring.faults import FORM, Made, made
from tunix_exp.errors import UserError
from tunix_exp.scoring.classes import CLASSES, Classification, Writing, classified, counted
from tunix_exp.scoring.scorecard import score

EACH = 15
ANSWERS = list(made(seed=48, each=EACH))
WRITING = Writing((), FORM, "\n")


def classed(one: Made, writing: Writing = WRITING) -> Classification:
    extracted, correct = score(one.output, one.key)
    return classified(
        one.output,
        question=one.question,
        extracted=extracted,
        correct=correct,
        stop_reason=one.stop_reason,
        writing=writing,
    )


def test_there_are_two_hundred_answers_of_every_class():
    assert len(ANSWERS) >= 200
    assert {one.due for one in ANSWERS} == set(CLASSES)


@pytest.mark.parametrize("rule", sorted({one.rule for one in ANSWERS}))
def test_an_answer_with_a_known_fault_is_of_its_class_and_its_step_is_named(rule):
    for one in [one for one in ANSWERS if one.rule == rule]:
        found = classed(one)
        assert found == Classification(one.due, True, one.step, one.expected, one.found), one


def judged(question: str, *steps: str, answer: str = "0", key: str = "1", **changes) -> Classification:
    output = "\n".join([*steps, f"Answer: {answer}"])
    return classed(Made("", question, key, output, "eos", "right", **changes))


@pytest.mark.parametrize("steps", [
    ("9+3=12", "6+6+1=13"),
    ("1. 3 + 9 = 12, carry 1", "2. then 1 + 6 + 6 = 13"),
    ("69+63=132",),  # in one
    ("60 + 60 = 120", "9 + 3 = 12", "120 + 12 = 132"),  # by another way
    ("9+3=12", "2 + 2 = 4", "6+6+1=13"),  # what is true may stand between
])  # fmt: skip
def test_a_step_may_stand_in_other_words_as_long_as_its_numbers_hold(steps):
    assert judged("Add 69 and 63", *steps, answer="132", key="132").name == "right"


@pytest.mark.parametrize(("question", "steps", "wrong"), [
    # numbers of the question that were miscopied, in a true equation
    ("Add 67 and 72", ("7+3=10", "6+7+1=14"), (1, "7+2=9", "7+3=10")),
    ("What is 95 * 5?", ("95 is 90 + 5.", "90 * 5 = 450", "6 * 5 = 30", "450 + 25 = 475"),
     (3, "5 * 5 = 25", "6 * 5 = 30")),
    # a number in a sentence that comes from nowhere
    ("A car drives at 40 km/h for 3 hours. How many kilometers does it cover?",
     ("The speed is 45 km/h and the time is 3 hours.", "40 * 3 = 120"),
     (1, "The speed is 40 km/h and the time is 3 hours.", "The speed is 45 km/h and the time is 3 hours.")),
    # one too many, one too few
    ("Repeat the word 'fig' 2 times.", ("Counting: 1 fig, 2 fig, 3 fig.",),
     (1, "Counting: 1 fig, 2 fig.", "Counting: 1 fig, 2 fig, 3 fig.")),
    ("Add 67 and 72", ("6+7=13",), (1, "7+2=9", "6+7=13")),
    # after all that was due
    ("What is 82 + 15?", ("82 + 15 = 97", "97 + 1 = 99"), (2, None, "97 + 1 = 99")),
    ("Reverse the string 'wolf'.", ("The letters from the last to the first: f l o w", "Joined: flwo"),
     (2, "Joined: flow", "Joined: flwo")),
    ("No birds have fur. A robin is a bird. Does a robin have fur? Answer Yes or No.",
     ("So a robin does have fur.",), (2, "So a robin does not have fur.", "So a robin does have fur.")),
])  # fmt: skip
def test_the_first_wrong_step_is_named_with_what_was_expected_and_found(question, steps, wrong):
    found = judged(question, *steps)
    assert found == Classification("wrong_step", True, *wrong)


def test_of_two_ways_to_work_a_question_the_steps_follow_one():
    columns = ("Add the ones, then the tens of 82 and 15.", "Ones: 2 + 5 = 7", "Tens: 8 + 1 = 9")
    assert judged("What is 82 + 15?", *columns, "82 + 15 = 97", answer="97", key="97").name == "right"
    assert judged("What is 82 + 15?", "82 + 15 = 97", answer="97", key="97").name == "right"
    wrong = judged("What is 82 + 15?", *columns[:2], "Tens: 8 + 2 = 10")
    assert (wrong.step, wrong.expected) == (3, "Tens: 8 + 1 = 9")


def test_where_steps_cannot_be_computed_the_other_classes_hold_and_that_is_recorded():
    question = "Natalia sold 48 clips in April and half as many in May. How many is that in all?"
    assert judged(question, "48/2 = 23", answer="72", key="72") == Classification("right", False, *[None] * 3)
    assert judged(question, "48/2 = 23") == Classification("wrong_answer", False, *[None] * 3)
    # steps that nothing parts cannot be told apart
    unparted = Writing((), FORM, " ")
    spelled = Made("", "Reverse owl", "lwo", "o w x l w o\nAnswer: lwo", "eos", "right")
    assert classed(spelled, unparted) == Classification("right", False, *[None] * 3)


def test_without_a_form_no_format_is_wrong():
    one = Made("", "Who?", "me", "It was you.", "eos", "right")
    assert classed(one).name == "wrong_format"
    assert classed(one, Writing((), None, "\n")).name == "wrong_answer"


def test_what_stands_after_the_end_of_an_answer_is_not_classed():
    one = Made("", "Add 1 and 2", "3", "1+2=3\nAnswer: 4\nAdd" + " 9" * 30, "stop", "right")
    assert classed(one, Writing(("\nAdd",), FORM, "\n")).name == "right_steps_wrong_answer"
    assert classed(one).name == "repetition"


def test_the_answer_key_decides_between_right_and_wrong_alone():
    steps = ("9+3=12", "6+6+1=14")
    keys = [judged("Add 69 and 63", *steps, answer="142", key=key) for key in ("132", "7", "Paris")]
    assert len(set(keys)) == 1
    right = judged("Add 69 and 63", *steps, answer="142", key="142")
    assert right.name == "right_answer_wrong_steps"
    assert (right.step, right.expected, right.found) == (keys[0].step, keys[0].expected, keys[0].found)


def test_every_class_is_counted_those_without_answers_too():
    found = counted([classed(one) for one in ANSWERS])
    due = Counter(one.due for one in ANSWERS)
    assert found == {"n_steps_computed": len(ANSWERS), "counts": {name: due[name] for name in CLASSES}}


@pytest.mark.parametrize(("changes", "what"), [
    ({"name": "lazy"}, "no class of answers is called 'lazy'"),
    ({"step": "2"}, "not a classification: {"),
    ({"more": 1}, "not a classification: {"),
])  # fmt: skip
def test_a_line_with_another_classification_is_refused(changes, what):
    row = Classification("wrong_step", True, 2, "1+1=2", None).to_dict()
    assert Classification.from_dict(row, where="here").step == 2
    with pytest.raises(UserError) as caught:
        Classification.from_dict(row | changes, where="base.jsonl")
    assert caught.value.what.startswith(what)
