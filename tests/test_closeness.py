"""The suite's own measures: what rounding explains is close, and nothing else is."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.closeness import assert_clear, assert_close, relative_bound
from tests.pace import slowness

TERMS = 10_000
VALUES = np.random.default_rng(0).normal(size=(8, TERMS)).astype(np.float32)


def summed(values):
    """One after another in the type of `values`, as no library does it."""
    return np.add.accumulate(values, axis=-1, dtype=values.dtype)[..., -1]


def test_a_sum_in_another_order_is_close_and_one_without_a_term_is_not():
    largest = np.abs(np.add.accumulate(VALUES, axis=-1)).max()
    assert_close(summed(VALUES), summed(VALUES[:, ::-1]), roundings=TERMS, of=largest)
    with pytest.raises(AssertionError, match=r"at \[\d\]: .* apart, and 10000 roundings explain"):
        assert_close(summed(VALUES), summed(VALUES[:, 1:]), roundings=TERMS, of=largest)


def test_each_leaf_has_its_own_magnitude_and_the_one_that_is_off_is_named():
    expected = {"large": np.array([1e6, 1.0]), "small": [1e-6]}
    assert_close({"large": np.array([1e6, 1.01]), "small": [1e-6]}, expected, roundings=1)
    with pytest.raises(AssertionError, match=r"at \['small'\]\[0\]\[\]: "):
        assert_close({"large": np.array([1e6, 1.0]), "small": [1.01e-6]}, expected, roundings=1)


@pytest.mark.parametrize("found", [[1.0, np.nan], [1.0, np.inf], [1.0]])
def test_what_is_no_number_or_not_there_is_close_to_nothing(found):
    with pytest.raises(AssertionError):
        assert_close(np.array(found), np.array([1.0, 2.0]), roundings=10**6)
    with pytest.raises(AssertionError):
        assert_close(np.array([1.0, 2.0]), np.array(found), roundings=10**6)


def test_the_bound_grows_as_the_root_of_the_roundings_and_follows_the_type():
    assert relative_bound(400) == 20 * relative_bound(1)
    assert relative_bound(1) < 1e-6
    assert relative_bound(1, "bfloat16") == 2**16 * relative_bound(1)


def test_a_choice_is_clear_when_the_second_is_behind_by_more_than_rounding():
    assert_clear(np.array([1.0, 3.0, 2.9]), roundings=100)
    with pytest.raises(AssertionError, match="a tie but for rounding"):
        assert_clear(np.array([1.0, 3.0, 3.0 - 1e-6]), roundings=100)


def test_no_limit_is_shorter_than_it_is_stated():
    assert slowness() >= 1


def test_no_test_has_a_tolerance_of_its_own_for_arrays():
    folder = Path(__file__).parent
    own = re.compile(r"assert_allclose|\ballclose\(|\bisclose\(|\batol=")
    files = [path for path in folder.rglob("*.py") if path != Path(__file__)]
    assert len(files) > 100
    assert [str(path.relative_to(folder)) for path in files if own.search(path.read_text())] == []
