import hashlib
from pathlib import Path

import pytest

from tests.data.toys import data_config, fields
from tunix_exp.data import sources
from tunix_exp.errors import UserError


def refusal(path: Path | str, **changes) -> str:
    with pytest.raises(UserError) as caught:
        sources.read(data_config(path, **changes))
    return str(caught.value)


def test_rows_become_examples_in_their_order_with_places(toy):
    path = toy({"q": "1?", "a": "one"}, {"q": "2?", "a": "two"})
    read = sources.read(data_config(path))
    assert [(row.id, row.question, row.answer, row.place) for row in read] == [
        ("toy-000001", "1?", "one", f"{path}:1"),
        ("toy-000002", "2?", "two", f"{path}:2"),
    ]


def test_max_rows_reads_the_first_and_the_facts_count_all(toy):
    rows = [{"q": f"{number}?", "a": "x"} for number in range(5)]
    read = sources.read(data_config(toy(*rows), max_rows=2))
    assert [row.question for row in read] == ["0?", "1?"]
    assert (read.facts.rows, read.facts.rows_read) == (5, 2)


def test_the_hash_is_of_the_bytes_with_line_feeds(toy):
    unix = sources.read(data_config(toy({"q": "1?", "a": "x"}, name="unix.jsonl"))).facts
    windows = sources.read(data_config(toy(b'{"q": "1?", "a": "x"}\r', name="windows.jsonl"))).facts
    assert unix.sha256 == windows.sha256 == hashlib.sha256(b'{"q": "1?", "a": "x"}\n').hexdigest()


def test_a_last_line_without_its_line_end_counts(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"q": "1?", "a": "x"}\n{"q": "2?", "a": "x"}')
    assert len(sources.read(data_config(path))) == 2


def test_a_unicode_line_separator_inside_a_text_ends_no_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"q": "a\u2028b", "a": "x"}\n'.encode())
    assert sources.read(data_config(path))[0].question == "a\u2028b"


def test_a_bad_line_names_file_and_line(toy):
    good = {"q": "1?", "a": "x"}
    path = toy(*[{"q": f"{n}?", "a": "x"} for n in range(6)], '{"q": "7?", "a" }', good)
    message = refusal(path)
    assert "bad JSON at column 17" in message
    assert f"{path}:7 (data.source)" in message
    assert "one whole JSON object on each line" in message


def test_many_bad_rows_are_told_at_once_ten_of_them_in_full(toy):
    message = refusal(toy(*["{"] * 12, {"q": "1?", "a": "x"}))
    assert message.startswith("12 of 13 rows cannot be used")
    assert message.count("bad JSON") == 10
    assert "… and 2 more" in message


def test_an_empty_file_has_no_rows(toy):
    assert "has no rows" in refusal(toy())


def test_two_rows_with_one_id_are_refused(toy):
    path = toy({"n": "a", "q": "1?", "a": "x"}, {"n": "a", "q": "2?", "a": "x"})
    message = refusal(path, id="n")
    assert f"the id 'a' stands already at {path}:1" in message
    assert f"{path}:2" in message


def test_a_question_twice_is_refused_in_items_and_allowed_in_training(toy):
    path = toy({"q": "What  is it?", "a": "x"}, {"q": "what is IT?", "a": "y"})
    assert len(sources.read(data_config(path))) == 2
    with pytest.raises(UserError, match=r"the question 'what is IT\?' stands already at .*:1") as caught:
        sources.read_items(str(path), "auto", fields(), None, key="eval")
    assert "(eval.source)" in str(caught.value)


def test_max_items_limits_the_items(toy):
    path = toy({"q": "1?", "a": "x"}, {"q": "2?", "a": "x"})
    assert len(sources.read_items(str(path), "auto", fields(), 1)) == 1


def test_a_set_can_be_sliced_and_iterated(toy):
    read = sources.read(data_config(toy({"q": "1?", "a": "x"}, {"q": "2?", "a": "x"})))
    assert list(read) == [read[0], read[1]] == list(read[:2])
