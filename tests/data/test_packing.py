import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunix_exp.data.packing import best_fit, least_padding, rows_of

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=40)


def packed(lengths, capacity):
    members_N, starts_R = best_fit(np.array(lengths), capacity)
    return [part.tolist() for part in np.split(members_N, starts_R[1:-1])]


@given(LENGTHS, st.integers(40, 60))
def test_every_index_is_in_one_row_and_no_row_overflows(lengths, capacity):
    rows = packed(lengths, capacity)
    assert rows_of(np.array(lengths), max_tokens=capacity, is_packed=True) == len(rows)
    assert rows_of(np.array(lengths), max_tokens=capacity, is_packed=False) == len(lengths)
    assert sorted(itertools.chain(*rows)) == list(range(len(lengths)))
    assert max(sum(lengths[index] for index in row) for row in rows) <= capacity


@given(LENGTHS, st.integers(40, 60))
def test_packing_takes_no_more_rows_than_padding_and_leaves_no_two_that_would_share_one(lengths, capacity):
    rows = packed(lengths, capacity)
    assert len(rows) <= len(lengths)
    filled = sorted(sum(lengths[index] for index in row) for row in rows)
    assert len(filled) == 1 or filled[0] + filled[1] > capacity


def test_each_goes_where_it_leaves_the_least_room():
    # 3 fits beside 6 (room 4), and beside 7 exactly; first-fit would take the longer-standing row of 6.
    assert packed([6, 7, 3, 4], 10) == [[1, 2], [0, 3]]
    assert packed([7, 6, 4, 3], 10) == [[0, 3], [1, 2]]


def test_a_length_that_no_row_holds_is_an_error():
    with pytest.raises(ValueError, match="a length of 11 does not go into rows of 10"):
        packed([3, 11], 10)


def padded_tokens(lengths, widths):
    return sum(next(width for width in widths if width >= length) for length in lengths)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=30), st.integers(1, 4))
def test_no_other_choice_of_so_many_widths_pads_less(lengths, count):
    chosen = least_padding(lengths, count, 100)
    assert len(chosen) <= count
    assert list(chosen) == sorted(set(chosen))
    possible = sorted({min(-(-length // 16) * 16, 100) for length in lengths})
    others = [
        widths
        for size in range(1, min(count, len(possible)) + 1)
        for widths in itertools.combinations(possible, size)
        if widths[-1] == possible[-1]
    ]
    assert padded_tokens(lengths, chosen) == min(padded_tokens(lengths, widths) for widths in others)


def test_widths_are_multiples_of_sixteen_but_for_the_limit():
    assert least_padding([3, 17, 40, 70], 9, 75) == (16, 32, 48, 75)
    assert least_padding([3, 17, 40, 70], 1, 100) == (80,)
