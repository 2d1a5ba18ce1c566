from tests.data.toys import example
from tunix_exp.data.equals import Equals, Ids


def test_rows_are_equal_or_answer_a_question_otherwise():
    equals = Equals()
    for one in (example("1?"), example("1?"), example("1?", answer="B"), example("1?", "s"), example("2?")):
        equals.add(one)
    assert equals.counts() == {"equal_rows": 1, "equal_questions_with_other_answers": 2}
    assert Equals().counts() == {"equal_rows": 0, "equal_questions_with_other_answers": 0}


def test_every_repetition_of_an_id_is_found_with_the_first_that_has_it():
    rows = [example(f"{place}?", name=name) for place, name in enumerate("abacab")]
    ids = Ids()
    for one in rows:
        ids.add(one.id)
    found = [(first.question, second.question) for first, second in ids.repeated(rows)]
    assert found == [("0?", "2?"), ("0?", "4?"), ("1?", "5?")]
    assert list(Ids().repeated([])) == []
