import itertools
import math

import numpy as np
import pytest
from scipy.stats import binomtest

from tunix_exp.errors import UserError
from tunix_exp.scoring.paired import (
    NO_EVIDENCE,
    Flips,
    ItemLoss,
    accuracy_interval,
    compare,
    compare_losses,
    holm,
    loss_interval,
    mcnemar_p,
    smallest_detectable,
)
from tunix_exp.scoring.scorecard import Prediction


def flips(n: int, to_right: int, to_wrong: int, both: int = 0) -> Flips:
    return Flips(n, both, to_right, to_wrong)


def answers(correct: str, labels: str | None = None) -> list[Prediction]:
    """One answer per mark: `+` is right; a label is a category."""
    return [
        Prediction(
            id=f"i{place}", prompt="p", expected_answer="1", output="1", extracted_answer="1",
            correct=mark == "+", section=None, category=labels[place] if labels else None, difficulty=None,
            tokens=1, stop_reason="eos",
        )
        for place, mark in enumerate(correct)
    ]  # fmt: skip


def losses(nats, tokens) -> list[ItemLoss]:
    found = zip(nats, tokens, strict=True)
    return [ItemLoss(f"i{place}", float(n), int(t)) for place, (n, t) in enumerate(found)]


# ── McNemar and Holm ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("to_right", [*range(13), 40, 286, 1000])
@pytest.mark.parametrize("to_wrong", [0, 1, 5, 12, 39, 900])
def test_mcnemar_is_scipy_s_binomial_test_on_the_flips(to_right, to_wrong):
    p = mcnemar_p(flips(3000, to_right, to_wrong))
    flipped = to_right + to_wrong
    assert p == pytest.approx(binomtest(to_right, flipped).pvalue if flipped else 1.0, rel=1e-9)


def test_holm_corrects_for_the_looks_that_are_left():
    # the smallest times 4, the next times 3, never below the one before, never above 1
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


# ── intervals ────────────────────────────────────────────────────────────────────────────────────────

ORDINARY = [(0.30, 0.10, 0.10), (0.40, 0.20, 0.05), (0.20, 0.05, 0.08), (0.10, 0.50, 0.05)]
RARE = [(0.50, 0.02, 0.0), (0.0, 0.01, 0.01), (0.0, 0.95, 0.0), (0.0, 0.0, 0.0)]


def coverage(n: int, both: float, to_right: float, to_wrong: float) -> float:
    """The share of 2,000 synthetic pairs of runs whose interval holds the true difference."""
    shares = [to_right, to_wrong, both, 1 - both - to_right - to_wrong]
    drawn = np.random.default_rng(8).multinomial(n, shares, size=2000)
    ends = {
        pair: accuracy_interval(flips(n, *pair), resamples=2000, seed=1)
        for pair in set(map(tuple, drawn[:, :2].tolist()))
    }
    found = [ends[pair] for pair in map(tuple, drawn[:, :2].tolist())]
    return float(np.mean([low <= to_right - to_wrong <= high for low, high in found]))


@pytest.mark.parametrize("shares", ORDINARY)
def test_the_interval_of_accuracy_covers_the_truth_95_times_in_100(shares):
    assert 0.935 <= coverage(300, *shares) <= 0.965


@pytest.mark.parametrize("n", [25, 300])
@pytest.mark.parametrize("shares", RARE)
def test_where_few_items_flip_or_nearly_all_it_covers_no_less(n, shares):
    assert coverage(n, *shares) >= 0.935


@pytest.mark.parametrize("kind", ["even", "skewed"])
def test_the_interval_of_the_loss_covers_the_truth_95_times_in_100(kind):
    n, generator = 30, np.random.default_rng(5)
    hits = 0
    for _ in range(2000):
        tokens = generator.integers(3, 40, n)
        change = generator.normal(0.2, 0.5, n) if kind == "even" else generator.exponential(0.2, n)
        before, after = losses(tokens * 2.0, tokens), losses(tokens * (2.0 + change), tokens)
        interval = loss_interval(before, after, resamples=1000, seed=2)
        assert interval is not None
        hits += interval[0] <= 0.2 <= interval[1]
    assert 0.935 <= hits / 2000 <= 0.965


def test_every_interval_of_accuracy_holds_the_difference_that_was_seen():
    for n in (1, 2, 5, 20):
        for to_right, to_wrong in itertools.product(range(n + 1), repeat=2):
            if to_right + to_wrong <= n:
                pair = flips(n, to_right, to_wrong)
                low, high = accuracy_interval(pair, resamples=1000, seed=0)
                assert -1 <= low <= pair.difference <= high <= 1


def test_no_flip_at_all_still_leaves_room_for_some():
    low, high = accuracy_interval(flips(300, 0, 0), resamples=10_000, seed=0)
    assert low == -high
    assert 0.005 < high < 0.015


def test_the_digits_are_those_of_the_seed_on_every_machine():
    pair = flips(300, 30, 12)
    assert accuracy_interval(pair, resamples=10_000, seed=0) == [0.016556, 0.102649]
    assert accuracy_interval(pair, resamples=1000, seed=1) != accuracy_interval(pair, resamples=1000, seed=2)
    before, after = losses([4.0, 5.0, 6.5, 7.0, 9.0], [2] * 5), losses([3.0, 5.5, 5.0, 4.0, 8.0], [2] * 5)
    assert loss_interval(before, after, resamples=10_000, seed=2**70) == [-1.440139, -0.027178]


def test_too_few_or_too_equal_losses_have_no_interval():
    three = losses([1.0, 2.0, 3.0], [1] * 3)
    assert loss_interval(three, losses([2.0, 2.5, 3.1], [1] * 3), resamples=1000, seed=0) is None
    equal = losses([1.0] * 9, [1] * 9)
    assert loss_interval(equal, losses([1.0] * 8 + [2.0], [1] * 9), resamples=1000, seed=0) is None
    assert loss_interval(equal, equal, resamples=1000, seed=0) == [0.0, 0.0]


# ── what could have been seen ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("n", "points"), [(150, 10), (625, 5), (3900, 2)])
def test_a_fifth_of_items_flipping_shows_the_differences_that_are_in_the_books(n, points):
    found = smallest_detectable(n, n // 5)
    assert found is not None
    assert 100 * found == pytest.approx(points, rel=0.03)


@pytest.mark.parametrize(("n", "flipped"), [(300, 60), (300, 0), (100, 30), (1319, 100)])
def test_the_smallest_difference_is_found_four_times_in_five(n, flipped):
    difference = smallest_detectable(n, flipped)
    assert difference is not None
    share = max(flipped / n, difference)
    shares = [(share + difference) / 2, (share - difference) / 2, 1 - share]
    drawn = np.random.default_rng(0).multinomial(n, shares, size=4000)
    # the exact test is a little shy, the formula is of the plain one
    assert 0.72 <= np.mean([mcnemar_p(flips(n, b, c)) <= 0.05 for b, c, _ in drawn.tolist()]) <= 0.83


def test_five_items_can_show_nothing():
    assert mcnemar_p(flips(5, 5, 0)) > 0.05
    assert smallest_detectable(5, 0) is None
    found = compare(answers("-----"), answers("+++++"), resamples=1000, seed=0)
    assert (found["verdict"], found["smallest_detectable_difference"]) == (NO_EVIDENCE, None)


# ── the comparison ───────────────────────────────────────────────────────────────────────────────────


def test_a_clear_gain_reads_so():
    found = compare(answers("-" * 300), answers("+" * 285 + "-" * 15), resamples=10_000, seed=0)
    assert found["verdict"] == "better"
    assert (found["base_accuracy"], found["trained_accuracy"], found["difference"]) == (0.0, 0.95, 0.95)
    low, high = found["interval_95"]
    assert 0.90 < low < 0.95 < high < 0.98
    assert found["mcnemar_p"] < 1e-80
    assert (found["flips_to_right"], found["flips_to_wrong"]) == (285, 0)


def test_a_clear_loss_reads_so():
    found = compare(answers("+" * 50), answers("-" * 25 + "+" * 25), resamples=2000, seed=0)
    assert found["verdict"] == "worse"
    assert (found["base_accuracy"], found["trained_accuracy"]) == (1.0, 0.5)


@pytest.mark.parametrize(("before", "after"), [("-" * 300, "-" * 300), ("+----" * 4, "-+++-" * 4)])
def test_what_chance_could_have_done_is_no_evidence(before, after):
    found = compare(answers(before), answers(after), resamples=2000, seed=0)
    if found["flips_to_right"] == 8:
        assert found["mcnemar_p"] == pytest.approx(binomtest(8, 12).pvalue)
    assert found["verdict"] == NO_EVIDENCE


@pytest.mark.parametrize(
    ("to_right", "to_wrong", "leaves_out_zero", "test_rejects"), [(16, 6, True, False), (56, 36, False, True)]
)
def test_a_verdict_needs_both_test_and_interval(to_right, to_wrong, leaves_out_zero, test_rejects):
    before = "-" * to_right + "+" * to_wrong + "-" * (300 - to_right - to_wrong)
    after = "+" * to_right + "-" * (300 - to_right)
    found = compare(answers(before), answers(after), resamples=10_000, seed=0)
    assert (found["interval_95"][0] > 0) == leaves_out_zero
    assert (found["mcnemar_p"] <= 0.05) == test_rejects
    assert found["verdict"] == NO_EVIDENCE


def test_groups_are_corrected_for_one_another():
    labels = "a" * 8 + "b" * 8 + "c" * 8
    after = "+" * 8 + "+" * 6 + "--" + "-" * 8
    found = compare(answers("-" * 24, labels), answers(after, labels), resamples=1000, seed=0)
    groups = found["per_category"]
    assert {name: group["n_items"] for name, group in groups.items()} == {"a": 8, "b": 8, "c": 8}
    assert [groups[name]["p"] for name in "abc"] == [2 / 2**8, 2 / 2**6, 1.0]
    assert [groups[name]["p_corrected"] for name in "abc"] == [6 / 2**8, 4 / 2**6, 1.0]
    assert groups["a"]["difference"] == 1.0
    assert groups["c"]["interval_95"][0] < 0 < groups["c"]["interval_95"][1]
    assert (found["per_section"], found["per_difficulty"]) == ({}, {})


def test_the_loss_is_weighed_by_tokens():
    before, after = losses([10.0, 2.0, 3.0, 4.0], [10, 1, 1, 1]), losses([5.0, 2.5, 2.0, 3.5], [10, 1, 1, 1])
    found = compare_losses(before, after, resamples=1000, seed=0)
    assert found["base_nats"] == math.fsum([10.0, 2.0, 3.0, 4.0]) / 13
    assert found["difference_nats"] == found["trained_nats"] - found["base_nats"]
    assert found["n_items"] == 4


def test_other_items_cannot_be_compared():
    with pytest.raises(ValueError, match="the same items in the same order"):
        compare(answers("+-"), answers("+-+"), resamples=1000, seed=0)
    with pytest.raises(ValueError, match="and of at least one"):
        compare([], [], resamples=1000, seed=0)
    with pytest.raises(ValueError, match="different tokens"):
        compare_losses(losses([1.0], [1]), losses([1.0], [2]), resamples=1000, seed=0)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"id": "a", "nats": 1.0}, "has the keys id, nats"),
        ({"id": 1, "nats": 1.0, "tokens": 1}, "`id` is 1"),
        ({"id": "a", "nats": 1, "tokens": 1}, "`nats` is 1"),
        ({"id": "a", "nats": -1.0, "tokens": 1}, "`nats` is -1.0"),
        ({"id": "a", "nats": 1.0, "tokens": 0}, "`tokens` 0"),
    ],
)
def test_a_line_that_is_no_loss_is_refused(row, fault):
    with pytest.raises(UserError, match="not an item's loss") as caught:
        ItemLoss.from_dict(row, where="line 3")
    assert fault in caught.value.what
    assert caught.value.where == "line 3"
