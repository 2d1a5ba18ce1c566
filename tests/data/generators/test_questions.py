"""The steps of a question are computed from it again, as the generator wrote them."""

import pytest

from tunix_exp.data.generators.questions import worked
from tunix_exp.data.generators.sets import SETS

TRACED = ("nano-reasoning", "nano-eval", "golden-v1", "golden-v2", "dev-reasoning-v1", "dev-reasoning-v2")


@pytest.mark.parametrize("name", TRACED)
def test_every_question_of_a_set_with_steps_gives_its_steps_and_its_answer(name):
    for row in SETS[name]():
        steps = tuple(one if isinstance(one, str) else one["content"] for one in row["steps"])
        question = row["question"] if "question" in row else row["prompt"]
        (answer,) = [row[key] for key in ("answer", "final_answer", "expected_answer") if key in row]
        assert (steps, answer) in worked(question)


@pytest.mark.parametrize("question", [
    "Add 67 and 72 and 1",
    "Add 067 and 72",
    "Say six 9 times",
    "What is 7 * 8?",  # of eval-v1: no generator makes it
    "7 items cost $10 in total. What does one item cost, in dollars?",  # no price in whole cents
    "What is 15% of 7?",
    "Natalia sold 48 clips. " + "What is 1 + 2? " * 60,
])  # fmt: skip
def test_a_question_that_no_generator_asks_has_no_steps(question):
    assert worked(question) == ()


def test_two_generators_may_work_one_question_in_two_ways():
    assert [len(way.steps) for way in worked("What is 82 + 15?")] == [1, 4]
    assert {way.answer for way in worked("What is 82 + 15?")} == {"97"}
