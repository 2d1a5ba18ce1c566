"""Rows of several sets in the proportion of their weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunix_exp.data.mixture import Interleaved, Staged
from tunix_exp.errors import UserError

WEIGHTS = st.lists(st.integers(1, 12), min_size=1, max_size=5)


@given(weights=WEIGHTS, start=st.integers(0, 500), count=st.integers(1, 300))
def test_any_stretch_of_the_order_is_the_order_itself(weights, start, count):
    order = Interleaved(weights)
    set_P, number_P = order.between(0, start + count)
    again = order.between(start, start + count)
    np.testing.assert_array_equal(again, (set_P[start:], number_P[start:]))
    for one in range(len(weights)):
        assert number_P[set_P == one].tolist() == list(range((set_P == one).sum()))


@given(weights=WEIGHTS, count=st.integers(1, 400))
def test_after_any_number_of_rows_each_set_has_its_share_of_them(weights, count):
    order = Interleaved(weights)
    set_P, _ = order.between(0, count)
    assert order.counts(count) == np.bincount(set_P, minlength=len(weights)).tolist()
    for one, weight in enumerate(weights):
        share = weight / sum(weights)
        assert abs((set_P == one).sum() - share * count) <= 0.5 + share * max(len(weights) - 2, 0) / 2 + 1e-9


@given(weights=WEIGHTS, periods=st.integers(1, 3))
def test_after_whole_periods_the_shares_are_exact(weights, periods):
    set_P, _ = Interleaved(weights).between(0, periods * sum(weights))
    assert np.bincount(set_P).tolist() == [periods * weight for weight in weights]


def test_weights_are_proportions_however_they_are_written():
    orders = [
        Interleaved(weights).between(0, 50) for weights in ((3, 1), (0.75, 0.25), (0.3, 0.1), (6e-3, 2e-3))
    ]
    for order in orders:
        np.testing.assert_array_equal(order, orders[0])
    assert orders[0][0][:8].tolist() == [0, 0, 1, 0, 0, 0, 1, 0]
    assert Interleaved((0.3, 0.1)).shares == (0.75, 0.25)


def test_weights_that_come_out_even_after_too_many_rows_are_refused():
    with pytest.raises(
        UserError, match=r"the weights 0\.333333, 0\.666666, 1 come out even only after"
    ) as caught:
        Interleaved((0.333333, 0.666666, 1.0))
    assert caught.value.where == "data.mix"


@given(
    rows=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    start=st.integers(0, 150),
    more=st.integers(0, 60),
)
def test_stages_come_one_after_another_and_the_last_goes_on(rows, start, more):
    order = Staged(rows)
    due = [(one, number) for one, count in enumerate(rows) for number in range(count)]
    due += [(len(rows) - 1, rows[-1] + number) for number in range(300)]
    set_P, number_P = order.between(start, start + more)
    assert list(zip(set_P.tolist(), number_P.tolist(), strict=True)) == due[start : start + more]
    assert order.counts(start) == [sum(of == one for of, _ in due[:start]) for one in range(len(rows))]
