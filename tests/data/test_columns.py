import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from tunix_exp.data import columns

TEXTS = ["", "a", "ä€😀\0", "b\n"]


@pytest.mark.parametrize("values", [[], TEXTS, [None], [None, *TEXTS, None] * 5])
def test_texts_are_arrow_s_own(values):
    column = columns.texts(values)
    column.validate(full=True)
    assert column.equals(pa.array(values, pa.string()))


@pytest.mark.parametrize("values", [[], [[]], [TEXTS, (), ["c"]] * 5])
def test_lists_of_texts_are_arrow_s_own(values):
    column = columns.lists_of_texts(values)
    column.validate(full=True)
    assert column.equals(pa.array(values, pa.list_(pa.string())))


@pytest.mark.parametrize("count", [0, 1, 8, 9, 100])
def test_masks_and_places_are_arrow_s_own(count):
    flags = np.random.default_rng(count).random(count) < 0.5
    assert columns.mask(flags).equals(pa.array(flags))
    assert columns.places(np.flatnonzero(flags)).equals(pa.array(np.flatnonzero(flags)))
    assert columns.places(np.arange(count, 0, -2)).equals(pa.array(np.arange(count, 0, -2)))


def test_texts_beyond_what_offsets_reach_are_refused(monkeypatch):
    monkeypatch.setattr(columns, "MOST_BYTES", 3)
    assert columns.texts(["€"]).to_pylist() == ["€"]
    with pytest.raises(OverflowError, match="4 bytes, of at most 3"):
        columns.texts(["€", "a"])


def test_a_table_is_made_and_read_without_pandas():
    code = """
import sys
import numpy as np
from tunix_exp.data.example import Example
from tunix_exp.data.table import table_of
table = table_of([Example("1", "a?", ("b",), "c", None, None, None, "x:1", ())] * 3)
assert len(table.where(np.array([True, False, True]))) == 2
assert [*table[::2], *table] and table.ids(np.array([0, 2])) == ("1", "1")
print("pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
