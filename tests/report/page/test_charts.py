import pytest

from tests.report.run_files import rows
from tunix_exp.report.page.charts import BUCKETS, overlaid, thinned, training_charts

OWN = {"loss": ("Loss", "nats per response token")}


def keys(spec):
    return [layer["encoding"]["y"]["field"] for layer in spec["layer"] if "encoding" in layer]


def y_scale(spec):
    return next(layer["encoding"]["y"]["scale"] for layer in spec["layer"] if "encoding" in layer)


def test_a_rule_stands_where_each_stage_but_the_last_ends_if_it_was_reached():
    logged = rows([3.0, 2.0, 1.0, 1.0])
    for stages, due in (
        ([("a", 2), ("b", 4)], [2]),
        ([("a", 1), ("b", 3), ("c", 9)], [1, 3]),
        ([("a", 2), ("b", 6), ("c", 9)], [2]),
        ([("a", 4)], []),
    ):
        charts, _ = training_charts(logged, {}, OWN, stages)
        for chart in charts:
            found = [
                layer["data"]["values"] for layer in chart.spec["layer"] if "values" in layer.get("data", {})
            ]
            assert found == ([[{"step": step} for step in due]] if due else [])


def test_each_chart_draws_its_own_figure_of_every_step():
    logged = rows([3.0, 2.0, 1.0])
    charts, series = training_charts(logged, {}, OWN)
    assert [chart.key for chart in charts] == ["loss", "lr", "grad_norm", "tokens_per_s"]
    for chart in charts:
        assert set(keys(chart.spec)) == {chart.key}
        assert series["columns"][chart.key] == pytest.approx([row[chart.key] for row in logged], rel=1e-5)
    assert series["columns"]["step"] == [1, 2, 3]


def test_held_out_losses_lie_on_the_loss_chart_alone():
    charts, series = training_charts(rows([3.0, 2.0]), {0: 3.5, 2: 2.5}, OWN)
    assert series["heldout"] == [{"step": 0, "heldout": 3.5}, {"step": 2, "heldout": 2.5}]
    assert ["heldout" in keys(chart.spec) for chart in charts] == [True, False, False, False]
    assert [line.name for line in charts[0].lines] == ["training batch", "held-out items"]


def test_a_loss_that_falls_far_is_drawn_logarithmically_with_round_ticks():
    charts, _ = training_charts(rows([6.0, 1.0, 0.004]), {}, OWN)
    assert charts[0].unit == "nats per response token, logarithmic"
    scale = y_scale(charts[0].spec)
    assert scale["type"] == "log"
    assert scale["domain"][0] < 0.004
    assert scale["domain"][1] > 6.0
    layer = next(one for one in charts[0].spec["layer"] if "encoding" in one)
    assert layer["encoding"]["y"]["axis"]["values"] == pytest.approx([0.01, 0.1, 1.0])
    near, _ = training_charts(rows([6.0, 5.0]), {}, OWN)
    assert y_scale(near[0].spec) == {"domain": [0.0, 6.0], "nice": True}


def test_a_noisy_figure_gets_its_running_median():
    charts, series = training_charts(rows([2.0 + n % 2 for n in range(300)]), {}, OWN)
    assert charts[0].lines[1].name == "median of 13"
    assert len(series["columns"]["loss_median"]) == 300
    assert [len(chart.lines) for chart in charts[:2]] == [2, 1]


def test_a_long_run_is_thinned_and_keeps_its_ends_and_every_spike():
    losses = [1.0] * 50_000
    losses[31_415] = 9.0
    losses[27_182] = 0.1
    logged = [row | {"grad_norm": 5.0 if place == 16_180 else 1.0} for place, row in enumerate(rows(losses))]
    places = thinned(logged)
    assert len(places) <= 3 * BUCKETS + 2
    assert places == sorted(set(places))
    assert {0, 16_180, 27_182, 31_415, 49_999} <= set(places)


def test_a_short_run_is_drawn_whole():
    assert thinned(rows([1.0] * 100)) == list(range(100))


def test_several_runs_share_one_axis_each_in_its_colour():
    spec = overlaid("loss", tones={"a": "red", "b": "blue"}, last=9, values=[1.0, 2.0])
    color = spec["layer"][0]["encoding"]["color"]
    assert color["scale"] == {"domain": ["a", "b"], "range": ["red", "blue"]}
    assert y_scale(spec)["domain"] == [0.0, 2.0]
    far = overlaid("loss", tones={"a": "red"}, last=9, values=[100.0, 0.1])
    assert y_scale(far)["type"] == "log"


def test_a_resumed_run_begins_where_it_went_on_and_still_shows_the_base_model():
    later = [row | {"step": row["step"] + 10} for row in rows([1.0, 0.9])]
    for heldout, first in (({}, 10), ({0: 3.0, 12: 0.8}, 0)):
        charts, _ = training_charts(later, heldout, OWN)
        assert charts[0].spec["encoding"]["x"]["scale"]["domain"] == [first, 12]


def test_a_figure_that_is_zero_all_along_has_an_axis():
    charts, _ = training_charts([row | {"lr": 0.0} for row in rows([1.0, 0.9])], {}, OWN)
    assert y_scale(charts[1].spec)["domain"] == [0.0, 1.0]
