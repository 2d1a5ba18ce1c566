import pytest

from tunix_exp.training.meter import Meter


class Clock:
    """A clock that stands still until it is set forward."""

    now = 100.0

    def __call__(self):
        return self.now


def measured(peak_flops=None):
    clock = Clock()
    return clock, Meter({8: 400.0, 16: 1000.0}, peak_flops, clock=clock)


def test_rates_are_those_since_the_mark_and_counters_those_since_the_beginning():
    clock, meter = measured()
    clock.now += 2
    meter.count(tokens=12, shape=(2, 8))
    meter.mark()
    clock.now += 1
    meter.count(tokens=10, shape=(2, 8))
    clock.now += 3
    meter.count(tokens=26, shape=(2, 16))
    assert meter.figures() == {
        "tokens_seen": 48, "padded_tokens_seen": 64, "train_s": 6.0, "time_s": 6.0,
        "tokens_per_s": 36 / 4, "padded_tokens_per_s": 48 / 4, "step_s": 2.0, "slowest_step_s": 3.0,
        "model_flops_per_s": pytest.approx((400 * 10 / 16 + 1000 * 26 / 32) / 4),
    }  # fmt: skip
    whole = meter.whole()
    assert (whole["tokens_per_s"], whole["padded_tokens_per_s"], whole["step_s"]) == (8.0, 64 / 6, 2.0)


def test_seconds_away_are_not_training_s():
    clock, meter = measured()
    clock.now += 2
    meter.count(tokens=16, shape=(2, 8))
    with meter.away():
        clock.now += 50
    clock.now += 2
    meter.count(tokens=16, shape=(2, 8))
    figures = meter.figures()
    assert (figures["train_s"], figures["time_s"], figures["step_s"]) == (4.0, 54.0, 2.0)


def test_padding_is_no_useful_work():
    clock, meter = measured(peak_flops=500.0)
    clock.now += 4
    meter.count(tokens=4, shape=(2, 8))
    assert meter.figures()["model_flops_per_s"] == 400 * (4 / 16) / 4
    assert meter.figures()["mfu"] == 25 / 500
    assert meter.whole()["mfu"] == 25 / 500


def test_without_a_known_peak_no_mfu_is_claimed():
    clock, meter = measured()
    clock.now += 1
    meter.count(tokens=4, shape=(2, 8))
    assert "mfu" not in meter.figures() | meter.whole()


def test_where_no_step_was_counted_there_is_no_rate():
    _, meter = measured(peak_flops=500.0)
    assert meter.whole() is None


def test_the_slowest_step_is_told_since_the_mark_alone():
    clock, meter = measured()
    for seconds, slowest in ((1, 1), (5, 5), (2, 5)):
        clock.now += seconds
        meter.count(tokens=4, shape=(2, 8))
        assert meter.figures()["slowest_step_s"] == slowest
    meter.mark()
    clock.now += 3
    meter.count(tokens=4, shape=(2, 8))
    assert meter.figures()["slowest_step_s"] == 3


@pytest.mark.parametrize("seconds", [0, -7])
def test_a_clock_that_stands_still_or_goes_back_ends_no_training(seconds):
    clock, meter = measured(peak_flops=500.0)
    clock.now += seconds
    meter.count(tokens=16, shape=(2, 8))
    figures = meter.figures()
    assert figures["train_s"] == figures["slowest_step_s"] == seconds
    assert figures["tokens_per_s"] == (16 / seconds if seconds else 0)
