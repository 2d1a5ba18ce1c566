import pytest

from tests.composing import composed
from tunix_exp.config import RunConfig, validate
from tunix_exp.data import sources
from tunix_exp.evaluation import items
from tunix_exp.evaluation.items import read_held_out, read_rows


def config(*words: str) -> RunConfig:
    return validate(composed(*words))


def test_items_of_another_source_take_no_row_from_the_training():
    default = config("data.max_rows=50")
    (rows,) = read_rows(default.data, default.eval).values()
    assert list(rows) == list(*sources.read_sets(default.data).values())
    assert rows.held_out is None
    assert [one.place.split(":")[0] for one in read_held_out(default.data, default.eval)[:2]] == [
        "nano-eval.jsonl"
    ] * 2


@pytest.mark.parametrize("words", [(), ("data.only={category:[addition]}",)])
def test_a_split_is_of_the_rows_that_filter_and_limit_leave(words):
    half = config("data.max_rows=50", "eval=split", "eval.share=0.5", *words)
    sets, every = read_rows(half.data, half.eval), list(*sources.read_sets(half.data).values())
    (rows,) = sets.values()
    held_out = read_held_out(half.data, half.eval, sets)
    assert held_out is rows.held_out
    assert sorted(one.id for one in [*rows, *held_out]) == sorted(one.id for one in every)
    assert len(every) == 50


def test_a_limit_of_items_gives_no_row_back_to_the_training():
    words = ("data.max_rows=50", "eval=split", "eval.share=0.5")
    few, every = config(*words, "eval.max_items=3"), config(*words)
    (limited,), (rows,) = (read_rows(one.data, one.eval).values() for one in (few, every))
    assert list(limited) == list(rows)
    assert list(read_held_out(few.data, few.eval)) == list(read_held_out(every.data, every.eval))[:3]


def test_items_of_a_split_are_the_same_without_its_training_rows(monkeypatch):
    half = config("data.max_rows=50", "eval=split", "eval.share=0.5")
    sets = read_rows(half.data, half.eval)
    assert list(read_held_out(half.data, half.eval)) == list(read_held_out(half.data, half.eval, sets))
    monkeypatch.setattr(items, "read_sets", None)  # the rows are not read once more
    assert len(read_held_out(half.data, half.eval, sets)) > 10
