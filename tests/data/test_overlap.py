import pytest

from tests.data.toys import data_config, example
from tunix_exp.data import overlap, sources
from tunix_exp.data.overlap import Shared, refuse_shared, shared_questions, shared_runs
from tunix_exp.errors import UserError

WORDS = [*"abcdefghijklm"]
RUN = " ".join(WORDS)


def test_training_questions_that_are_held_out_are_refused():
    train, items = [example("What is  IT?"), example("Other?")], [example("what is it?")]
    with pytest.raises(UserError, match="1 of 2 training questions are held out") as caught:
        refuse_shared(shared_questions(train, items), train, items)
    assert "data.allow_eval_overlap=true" in str(caught.value)
    assert "toy.jsonl:1 asks what toy.jsonl:1 asks: 'What is IT?'" in str(caught.value)
    refuse_shared(shared_questions(train, [example("none?")]), train, items)


def test_of_many_shared_questions_ten_are_named():
    train, items = [example("It?")] * 12, [example("it?")]
    with pytest.raises(UserError, match="12 of 12") as caught:
        refuse_shared(shared_questions(train, items), train, items)
    assert str(caught.value).count("asks what") == 10
    assert "… and 2 more" in str(caught.value)


def test_shared_questions_name_row_and_item(toy):
    train = [example("Other?"), example("It?"), example("it?")]
    items = [example("none?"), example("it?")]
    assert shared_questions(train, items) == [Shared(1, 1, "It?"), Shared(2, 1, "it?")]
    read = sources.read(data_config(toy(*({"q": one.question, "a": "A"} for one in train))))
    assert shared_questions(read, items) == shared_questions(train, items)


def test_thirteen_words_of_an_item_are_found_wherever_they_stand_in_a_row():
    items = [example("else"), example(f"Zero {RUN} last?")]
    places = {
        "question": example(f"Say: {RUN}"),
        "steps": example("Q?", "first", f"so {RUN}, then"),
        "answer": example("Q?", answer=f"it is {RUN}"),
        "over parts": example(" ".join(WORDS[:6]), " ".join(WORDS[6:12]), answer=WORDS[12]),
    }
    for place, row in places.items():
        assert shared_runs([example("x"), row], items) == (1, 1, (Shared(1, 1, RUN),)), place


def test_twelve_words_are_not_enough_for_a_longer_item():
    items = [example(f"{RUN} last")]
    assert shared_runs([example(" ".join(WORDS[:12]))], items).rows == 0
    assert shared_runs([example(" ".join([*WORDS[:12], "other", *WORDS[12:]]))], items).rows == 0


def test_the_same_words_in_another_order_are_not_found():
    assert shared_runs([example(" ".join(reversed(WORDS)))], [example(RUN)]).rows == 0


def test_words_of_two_rows_make_no_run():
    rows = [example(" ".join(WORDS[:7]), answer=WORDS[7]), example(WORDS[8], answer=" ".join(WORDS[9:]))]
    assert shared_runs(rows, [example(RUN)]).rows == 0


def test_case_and_punctuation_make_no_difference_to_words():
    row = example("A, b — C; d... (e) f\ng h i? j! k  l 'M'")
    assert shared_runs([row], [example(RUN)]).rows == 1


def test_an_item_of_fewer_words_is_found_by_the_same_question_alone():
    items = [example("What is it?"), example("what is IT")]
    assert shared_runs([example("what is it!")], items) == (1, 2, (Shared(0, 0, "what is it"),))
    assert shared_runs([example("say what is it"), example("Q?", answer="What is it?")], items).rows == 0


def test_a_row_that_shares_with_two_items_is_one_row_and_two_items():
    items = [example(RUN), example(f"zero {RUN}"), example("a?")]
    assert shared_runs([example(f"zero {RUN}")], items)[:2] == (1, 2)


def test_a_conversation_is_searched_in_all_its_messages():
    talk = example("Last?", answer="A")
    object.__setattr__(talk, "messages", (("user", f"first {RUN}"), ("assistant", "B"), ("user", "Last?")))
    assert shared_runs([talk], [example(RUN)]).rows == 1


def test_five_are_shown_and_all_are_counted_whatever_the_rows_at_a_time(monkeypatch):
    rows = [example(f"{RUN} {number}" if number % 3 else "no") for number in range(60)]
    at_once = shared_runs(rows, [example(RUN)])
    assert (at_once.rows, at_once.items, len(at_once.first)) == (40, 1, 5)
    monkeypatch.setattr(overlap, "_WORDS_AT_A_TIME", 20)
    assert shared_runs(rows, [example(RUN)]) == at_once
    assert [shared.row for shared in at_once.first] == [1, 2, 4, 5, 7]


def test_characters_of_chinese_and_japanese_are_words():
    question = "小明有五个苹果他又买了七个苹果一共有几个"
    assert shared_runs([example(f"请问{question}")], [example(question)]).rows == 1
    assert shared_runs([example("小红有五个梨")], [example(question)]).rows == 0


def test_nothing_is_shared_with_nothing():
    assert shared_runs([], [example(RUN)]) == (0, 0, ())
    assert shared_runs([example(RUN)], []) == (0, 0, ())
