import pytest

from tests.data.toys import fields
from tunix_exp.data.reading.part import BadRow
from tunix_exp.data.reading.values import Number
from tunix_exp.data.rows import RowReader


def made(record, **changes):
    return RowReader(fields(**changes), "data").example(record, "toy.jsonl:3", "toy-000003")


def refusal(record, **changes) -> str:
    with pytest.raises(BadRow) as caught:
        made(record, **changes)
    return f"{caught.value.what} | {caught.value.remedy}"


@pytest.mark.parametrize(
    "reasoning", [["one", "two"], [{"content": "one"}, {"content": "two", "i": 1}], "one\ntwo\n"]
)
def test_reasoning_may_be_texts_or_objects_or_lines(reasoning):
    assert made({"q": "?", "a": "x", "r": reasoning}, reasoning="r").steps == ("one", "two")


def test_no_reasoning_gives_no_steps():
    assert made({"q": "?", "a": "x"}).steps == ()
    assert made({"q": "?", "a": "x", "r": []}, reasoning="r").steps == ()


def test_reasoning_in_one_text_keeps_its_lines_as_they_are():
    assert made({"q": "?", "a": "x", "r": "\n one\n\n two \n"}, reasoning="r").steps == ("one", "", " two")


def test_the_marker_parts_reasoning_from_answer():
    read = made({"q": "?", "a": "48/2 = 24\nso 24\n#### 1,024"}, answer_marker="####")
    assert (read.steps, read.answer) == (("48/2 = 24", "so 24"), "1,024")


def test_calculator_marks_go_only_when_that_is_asked_for():
    record = {"q": "?", "a": "48/2 = <<48/2=24>>24 and a << b\n#### 24"}
    assert made(record, answer_marker="####").steps == ("48/2 = <<48/2=24>>24 and a << b",)
    stripped = made(record, answer_marker="####", strip_calculator_marks=True)
    assert stripped.steps == ("48/2 = 24 and a << b",)


@pytest.mark.parametrize(("answer", "times"), [("no mark", 0), ("#### 1 #### 2", 2)])
def test_a_marker_that_does_not_stand_once_is_refused(answer, times):
    assert f"the marker '####' stands {times} times in `a`, not once" in refusal(
        {"q": "?", "a": answer}, answer_marker="####"
    )


def test_nothing_behind_the_marker_is_refused():
    assert "after the marker '####' in `a` stands nothing" in refusal(
        {"q": "?", "a": "so\n#### "}, answer_marker="####"
    )


def test_a_dot_reaches_into_an_object_and_a_name_with_a_dot_comes_first():
    record = {"q": "?", "a": "x", "meta": {"case": "deep"}}
    assert made(record, category="meta.case").category == "deep"
    assert made({**record, "meta.case": "flat"}, category="meta.case").category == "flat"


def test_labels_and_ids_are_read_by_their_fields():
    record = {"q": "?", "a": "x", "n": Number("7"), "s": "core", "d": None}
    read = made(record, id="n", section="s", difficulty="d")
    assert (read.id, read.section, read.difficulty, read.place) == ("7", "core", None, "toy.jsonl:3")
    assert made(record).id == "toy-000003"


def test_a_missing_field_names_what_the_row_has_and_the_nearest():
    message = refusal({"question": "?", "answer": "x"}, question="question", answer="anwser")
    assert "the field `anwser` is missing; the row has question, answer — did you mean `answer`?" in message
    assert (
        "name the rows' own field in data.fields.answer; where the row alone has no answer, write it"
        in message
    )


@pytest.mark.parametrize(
    ("record", "changes", "text"),
    [
        ([1], {}, "the row is a list, not an object"),
        ("text", {}, "the row is a text, not an object"),
        ({"q": None, "a": "x"}, {}, "`q` is null, not a text"),
        ({"q": {}, "a": "x"}, {}, "`q` is an object, not a text"),
        ({"q": b"?", "a": "x"}, {}, "`q` is a bytes, not a text"),
        ({"q": " ", "a": "x"}, {}, "`q` is empty"),
        ({"q": "?", "a": ""}, {}, "`a` is empty | write the answer or take the row out"),
        ({"q": "a\ud800", "a": "x"}, {}, "`q` holds half a character, \\ud800"),
        ({"q": "?", "a": "x", "r": {}}, {"reasoning": "r"}, "`r` is an object, not steps"),
        (
            {"q": "?", "a": "x", "r": ["s", Number("3")]},
            {"reasoning": "r"},
            "step 2 of `r` is the number 3, not a text",
        ),
        ({"q": "?", "a": "x", "r": [{}]}, {"reasoning": "r"}, "step 1 of `r` is an object without `content`"),
        ({"q": "?", "a": "x", "r": [" "]}, {"reasoning": "r"}, "step 1 of `r` is empty"),
        ({"q": "?", "a": "x", "s": []}, {"section": "s"}, "`s` is a list, not a text"),
        (
            {"q": "?", "a": "x", "n": ""},
            {"id": "n"},
            "`n` is empty | give the row an id, or set data.fields.id=null",
        ),
        ({"q": "?", "a": "x", "n": True}, {"id": "n"}, "`n` is a truth value, not a text or whole number"),
    ],
)
def test_a_part_of_the_wrong_kind_is_refused(record, changes, text):
    assert text in refusal(record, **changes)
