import pytest

from tests.report.run_files import summary
from tunix_exp.report.comparison import accuracy_row, comparison_rows
from tunix_exp.report.page.forest import forest
from tunix_exp.report.result import loss_row


def number(percent):
    return float(percent.removesuffix("%"))


def all_rows(plot):
    return [row for _, rows in plot.groups for row in rows]


def of_a_run(comparison):
    return forest([accuracy_row("run", "run", comparison, comparison["mcnemar_p"])])


def of_loss(**changes):
    shown = summary()
    shown["comparison"]["heldout_loss"] |= changes
    return forest([loss_row(shown)])


@pytest.fixture
def comparison():
    return summary()["comparison"]


def test_all_items_and_every_group_have_a_row_under_its_heading(comparison):
    plot = forest(comparison_rows(comparison))
    assert [(heading, [row.name for row in rows]) for heading, rows in plot.groups] == [
        ("", ["all items"]), ("Section", ["core"]), ("Category", ["addition", "a|b"]),
    ]  # fmt: skip


def test_a_row_says_and_draws_its_numbers(comparison):
    row = all_rows(forest(comparison_rows(comparison)))[0]
    assert row.cells == (
        ("items", "12"), ("base", "25.0 %"), ("trained", "91.7 %"), ("difference", "+66.7"),
        ("interval", "[21.4, 85.7]"), ("p", "0.0078"),
    )  # fmt: skip
    assert row.drawn is not None
    assert row.drawn.kind == "better"
    assert number(row.drawn.low) < number(row.drawn.x) < number(row.drawn.low) + number(row.drawn.width)


def test_places_on_the_axis_are_in_proportion(comparison):
    plot = forest(comparison_rows(comparison))
    drawn = all_rows(plot)[0].drawn
    assert drawn is not None
    ticks = {tick.text: number(tick.x) for tick in plot.ticks}
    per_point = (ticks["+50"] - ticks["0"]) / 50
    assert number(plot.zero) == ticks["0"]
    assert number(drawn.x) == pytest.approx(ticks["0"] + 66.67 * per_point, abs=0.05)
    assert number(drawn.width) == pytest.approx((85.71 - 21.43) * per_point, abs=0.05)
    assert all(0 <= place <= 100 for place in ticks.values())
    assert len(ticks) <= 6


@pytest.mark.parametrize(
    ("interval", "kind"), [([-0.3, -0.1], "worse"), ([-0.1, 0.2], "none"), ([0.0, 0.2], "none")]
)
def test_an_interval_that_holds_zero_shows_no_difference(comparison, interval, kind):
    changed = comparison | {"interval_95": interval, "difference": interval[0]}
    drawn = all_rows(of_a_run(changed))[0].drawn
    assert drawn is not None
    assert drawn.kind == kind


def test_a_lower_loss_is_better(comparison):
    row = all_rows(of_loss())[0]
    assert dict(row.cells)["difference"] == "−2.750"
    assert row.drawn is not None
    assert row.drawn.kind == "better"


def test_too_few_items_for_an_interval_are_said_and_not_drawn(comparison):
    row = all_rows(of_loss(interval_95=None))[0]
    assert (dict(row.cells)["interval"], row.drawn) == ("too few items", None)


def test_no_difference_at_all_is_drawn_around_zero(comparison):
    plot = of_a_run(comparison | {"interval_95": [0.0, 0.0], "difference": 0.0})
    assert next(tick.text for tick in plot.ticks) == "0"
