import numpy as np

from tunix_exp.data.histogram import histogram


def test_few_lengths_have_a_bin_each():
    assert histogram(np.array([7])) == ((7, 7, 1),)
    assert histogram(np.array([3, 5, 5])) == ((3, 3, 1), (4, 4, 0), (5, 5, 2))


def test_bins_begin_at_multiples_of_their_width():
    assert histogram(np.array([11, 20, 29])) == (
        *((low, low + 1, int(low in (10, 20, 28))) for low in range(10, 30, 2)),
    )


def test_a_tail_is_shown_in_bins_that_double():
    assert histogram(np.array([10] * 9 + [64, 1000])) == (
        *((8, 15, 9), (16, 31, 0), (32, 63, 0), (64, 127, 1)),
        *((128, 255, 0), (256, 511, 0), (512, 1023, 1)),
    )


def test_every_length_is_in_one_of_at_most_ten_bins():
    drawn = np.random.default_rng(0)
    for most in (2, 9, 10, 11, 99, 101, 5000, 123_456):
        lengths_N = drawn.integers(1, most, 300)
        bins = histogram(lengths_N)
        assert len(bins) <= 10
        assert sum(one.number for one in bins) == 300
        for low, high, number in bins:
            assert number == ((lengths_N >= low) & (lengths_N <= high)).sum()
