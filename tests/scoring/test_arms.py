import itertools
import random

import numpy as np
import pytest
from scipy import stats

from tunix_exp.scoring import arms
from tunix_exp.scoring.paired import Flips, ItemLoss, mcnemar_p


@pytest.mark.parametrize("df", [1, 2, 3, 4, 7, 30, 101])
def test_the_quantile_of_student_s_t_is_scipy_s(df):
    assert arms.student_quantile(0.975, df) == pytest.approx(stats.t.ppf(0.975, df), rel=1e-9)


def test_the_interval_over_seeds_is_that_of_a_t_test():
    values = [0.91, 0.88, 0.95, 0.90]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert arms.seeds_interval(values) == pytest.approx(tuple(expected), abs=1e-6)
    assert arms.seeds_interval([0.9]) is None


def test_the_test_of_a_lead_is_that_of_every_sign():
    draw = random.Random(1)
    for _ in range(20):
        differences = [draw.choice([-6, -3, -2, 0, 2, 3, 4]) for _ in range(9)]
        observed = abs(sum(differences))
        sums = [
            sum(d * s for d, s in zip(differences, signs, strict=True))
            for signs in itertools.product([1, -1], repeat=9)
        ]
        share = sum(abs(one) >= observed for one in sums) / len(sums)
        assert arms.score_lead_p(differences) == pytest.approx(share, abs=1e-9)


def test_of_one_run_an_arm_it_is_mcnemar_s_exact_test():
    for to_right, to_wrong in ((8, 2), (30, 11), (5, 5), (6, 0)):
        differences = [1] * to_right + [-1] * to_wrong + [0] * 40
        flips = Flips(len(differences), 0, to_right, to_wrong)
        assert arms.score_lead_p(differences) == pytest.approx(mcnemar_p(flips), abs=1e-9)


def test_the_test_of_a_lead_in_loss_finds_what_is_there_and_nothing_where_there_is_nothing():
    draw = random.Random(2)
    noise = [draw.gauss(0, 1) for _ in range(200)]
    assert arms.loss_lead_p([one + 0.5 for one in noise], resamples=2000, seed=0) < 0.01
    centred = [one - sum(noise) / len(noise) for one in noise]
    assert arms.loss_lead_p(centred, resamples=2000, seed=0) > 0.9


def test_an_interval_over_items_holds_the_true_score_as_often_as_it_says():
    draw, held = random.Random(3), 0
    for trial in range(300):
        right = [int(draw.random() < 0.9) for _ in range(60)]
        low, high = arms.score_interval(right, 1, resamples=500, seed=trial)
        held += low <= 0.9 <= high
    assert 0.92 <= held / 300 <= 0.99


def test_items_that_all_runs_had_right_leave_an_interval():
    low, high = arms.score_interval([3] * 300, 3, resamples=1000, seed=0)
    assert low < 0.995
    assert high == 1.0


def test_more_runs_of_an_arm_narrow_nothing_over_items_that_differ():
    one = arms.score_interval([1] * 50 + [0] * 50, 1, resamples=1000, seed=0)
    three = arms.score_interval([3] * 50 + [0] * 50, 3, resamples=1000, seed=0)
    assert one == three


def test_a_loss_has_an_interval_about_its_mean():
    losses = tuple(ItemLoss(str(place), 2.0 + place % 5 / 10, 2) for place in range(50))
    found = arms.arm_loss_interval(losses, resamples=1000, seed=0)
    assert found is not None
    assert found[0] < 1.1 < found[1]
    assert found[1] - found[0] < 0.1


@pytest.mark.parametrize("differences", [[], [0.5], [0.0] * 9, [-0.25] * 9])
def test_of_pairs_that_do_not_spread_no_number_is_known(differences):
    assert arms.pairs_needed(differences, 0.05) is None
    assert arms.items_needed(differences, 0.05) is None


def test_two_seeds_that_lie_close_are_too_few_for_a_t_test():
    assert arms.pairs_needed([0.0, 0.01, 0.02], 0.05) == 3


def test_so_many_items_are_needed_that_six_of_them_differ():
    few = [1.0] * 2 + [0.0] * 98
    n = arms.items_needed(few, 0.05)
    assert n == 300
    assert arms.pairs_needed(few, 0.05) < n
    assert arms.score_lead_p([1] * 5) > 0.05 > arms.score_lead_p([1] * 6)
    many = [1.0, -1.0] * 25 + [0.0] * 50
    assert arms.items_needed(many, 0.05) == arms.pairs_needed(many, 0.05)


@pytest.mark.parametrize(("spread", "to_see"), [(0.4, 0.05), (0.1, 0.05), (0.4, 0.2)])
def test_so_many_pairs_show_a_difference_four_times_in_five(spread, to_see):
    n = arms.pairs_needed([spread, -spread], to_see)
    assert n is not None
    # by simulation of the paired test, not by the formula
    draw = np.random.default_rng(0)
    drawn = draw.normal(to_see, spread * np.sqrt(2), size=(4_000, n))
    z = drawn.mean(1) / (spread * np.sqrt(2) / np.sqrt(n))
    assert 0.77 < (np.abs(z) > 1.96).mean() < 0.83 + 0.15 * (n < 10)
