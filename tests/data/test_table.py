import numpy as np
import pytest

from tests.data.toys import example
from tunix_exp.data.example import Example
from tunix_exp.data.table import TableWriter, mapped, table_of

TALK = (("user", "1?"), ("assistant", "x"), ("user", "2?"), ("assistant", "y"))
EXAMPLES = [
    example("1?", "a", "b", name="x-1"),
    Example("x-2", "2?", (), "y", "core", None, "hard", "toy.jsonl:2", TALK),
    example("3?", name="x-3"),
]


@pytest.mark.parametrize("batch", [1, 2, 8192])
def test_examples_come_out_of_their_columns_as_they_went_in(batch, tmp_path, monkeypatch):
    monkeypatch.setattr("tunix_exp.data.table._BATCH", batch)
    writer = TableWriter(str(tmp_path / "examples.arrow"))
    for one in EXAMPLES:
        writer.append(one)
    for table in (table_of(EXAMPLES), writer.table(), mapped(str(tmp_path / "examples.arrow"))):
        assert list(table) == EXAMPLES == [table[place] for place in range(3)]
        assert table[-1] == EXAMPLES[-1]
        assert list(table[1:]) == EXAMPLES[1:]
        assert list(table[::-2]) == EXAMPLES[::-2]
        assert list(table.column("question")) == ["1?", "2?", "3?"]


def test_a_batch_of_long_texts_has_fewer_rows(monkeypatch):
    monkeypatch.setattr("tunix_exp.data.table._CHARACTERS", 8)
    table = table_of(EXAMPLES)
    assert list(table) == EXAMPLES
    assert [len(batch) for batch in table._table.to_batches()] == [1, 1, 1]


@pytest.mark.parametrize("batch", [1, 2, 8192])
def test_the_examples_at_true_places_stand_in_memory_or_in_a_file(batch, tmp_path, monkeypatch):
    monkeypatch.setattr("tunix_exp.data.table._BATCH", batch)
    table = table_of(EXAMPLES)
    for places in ([True, False, True], [False, True, True], [False] * 3):
        due = [one for one, is_kept in zip(EXAMPLES, places, strict=True) if is_kept]
        file = str(tmp_path / f"{sum(places)}.arrow")
        assert list(table.where(np.array(places))) == due
        assert list(table.where(np.array(places), file)) == due == list(mapped(file))


def test_no_examples_are_none():
    assert list(table_of([])) == []
    with pytest.raises(IndexError, match="there are 0 examples, and none at 0"):
        table_of([])[0]
