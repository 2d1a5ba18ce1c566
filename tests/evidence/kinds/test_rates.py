import pytest

from tunix_exp.evidence.kinds.rates import UNSEEN, contradictions, pace, rates_disagreement


def lines() -> list[dict[str, float]]:
    """Steps 4 and 6 of a run that went on from step 3, two seconds a step."""
    made: list[dict[str, float]] = []
    before = {**UNSEEN, "step": 3}
    for step, seen in ((4, 10), (6, 32)):
        line = {"step": step, "tokens": 10, "padded_tokens": 20, "response_tokens": 4}
        line |= {"tokens_seen": seen, "padded_tokens_seen": 20 * (step - 3), "train_s": 2.0 * (step - 3)}
        line |= pace(line, before) | {"time_s": 9.0 * step, "model_flops_per_s": 50.0, "mfu": 0.25}
        made.append(line | {"device_peak_bytes": 7})
        before = line
    return made


def test_lines_that_agree_are_not_contradicted() -> None:
    assert list(contradictions(lines(), after=3, flops=100.0, peak_flops=200.0)) == []
    whole = {"tokens_per_s": 32 / 6, "padded_tokens_per_s": 10.0, "step_s": 2.0}
    whole |= {"model_flops_per_s": 50.0, "mfu": 0.25}
    assert list(rates_disagreement(lines(), whole, after=3)) == []
    assert list(rates_disagreement(lines(), whole | {"step_s": 1.0}, after=3)) == [
        "`step_s` is not what the counters of the last line give, 2.0"
    ]


@pytest.mark.parametrize(
    ("line", "change", "says"),
    [
        (0, {"train_s": 0.0}, "step 4: `tokens_per_s` is 5.0, the counters give 0.0"),
        (0, {"slowest_step_s": 1.9}, "step 4: `slowest_step_s` is less than `step_s`, the mean"),
        (
            0,
            {"padded_tokens": 9},
            "step 4: `tokens` and `padded_tokens` do not contain",
        ),
        (0, {"tokens": 9}, "step 4: `tokens_seen` grew by 10, its own `tokens` are 9"),
        (1, {"padded_tokens": 41}, "step 6: `padded_tokens_seen` grew by 40, its own `padded_tokens` are 41"),
        (1, {"tokens_per_s": 5.0}, "step 6: `tokens_per_s` is 5.0, the counters give 5.5"),
        (0, {"step_s": 1.0}, "step 4: `step_s` is 1.0, the counters give 2.0"),
        (0, {"model_flops_per_s": 51.0}, "step 4: `model_flops_per_s` is more than the 100 operations"),
        (0, {"mfu": 0.26}, "step 4: `mfu` is 0.26, not `model_flops_per_s` over the plan's peak"),
        (0, {"process_peak_bytes": 3}, "not every line has one of `device_peak_bytes`"),
    ],
)
def test_a_line_that_contradicts_another_or_the_plan_is_told(
    line: int, change: dict[str, float], says: str
) -> None:
    rows = lines()
    rows[line] |= change
    found = list(contradictions(rows, after=3, flops=100.0, peak_flops=200.0))
    assert any(one.startswith(says) for one in found), found


def test_an_mfu_stands_exactly_where_the_plan_knows_the_peak_and_may_be_over_one() -> None:
    def found(rows: list[dict[str, float]], peak_flops: float | None) -> list[str]:
        return list(contradictions(rows, after=3, flops=100.0, peak_flops=peak_flops))

    assert (
        found(lines(), None)[0] == "step 4: `mfu` is recorded, but the device's peak is unknown to the plan"
    )
    without = [{key: value for key, value in line.items() if key != "mfu"} for line in lines()]
    assert found(without, None) == []
    assert found(without, 200.0)[0] == "step 4: `mfu` is missing, and the plan knows the device's peak"
    assert found([line | {"mfu": 1.25} for line in lines()], 40.0) == []


@pytest.mark.parametrize("train_s", [0.0, -3.0])
def test_lines_whose_clock_stood_still_or_went_back_do_not_contradict_each_other(train_s: float) -> None:
    first, second = lines()
    first |= {"train_s": train_s} | pace(first | {"train_s": train_s}, {**UNSEEN, "step": 3})
    first |= {"model_flops_per_s": 50.0 * 2 / train_s if train_s else 0.0}
    second |= pace(second, first) | {"model_flops_per_s": 200.0 / (second["train_s"] - train_s)}
    rows = [{key: value for key, value in row.items() if key != "mfu"} for row in (first, second)]
    assert list(contradictions(rows, after=3, flops=100.0, peak_flops=None)) == []
    whole = pace(second, {**UNSEEN, "step": 3}) | {"model_flops_per_s": 300.0 / second["train_s"]}
    assert list(rates_disagreement(rows, whole, after=3)) == []


def test_the_rate_of_a_run_is_the_mean_of_its_lines_by_their_seconds() -> None:
    whole = {"tokens_per_s": 32 / 6, "padded_tokens_per_s": 10.0, "step_s": 2.0}
    rows = [{key: value for key, value in row.items() if key != "mfu"} for row in lines()]
    rows[1]["model_flops_per_s"] = 20.0  # of 4 of the 6 seconds
    assert list(rates_disagreement(rows, whole | {"model_flops_per_s": 30.0}, after=3)) == []
    assert list(rates_disagreement(rows, whole | {"model_flops_per_s": 35.0}, after=3)) == [
        "`model_flops_per_s` is 35.0, and the lines come to 30.0"
    ]


def test_there_is_nothing_to_say_of_no_line():
    assert list(contradictions([], after=12, flops=1.0, peak_flops=None)) == []
