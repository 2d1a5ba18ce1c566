from rich.console import Console

from tests.scoring.test_harness import choices, outcome, sample, summary
from tunix_exp.evidence.harness import harness_headline, harness_in_words
from tunix_exp.report.harness import harness_columns, harness_rows, harness_table


def test_every_metric_of_every_task_is_a_row_with_its_change_in_its_own_unit():
    found = summary(choices(0, 0, 1, 1, f1=0.25), choices(1, 1, 1, 1, f1=0.5))
    assert harness_columns(found) == (
        "task", "metric", "items", "base", "trained", "change", "95 % interval", "p",
    )  # fmt: skip
    f1, acc = harness_rows(found)
    assert f1[:6] == ["choice", "f1", "4", "0.25", "0.5", "+0.25"]
    assert acc[:6] == ["choice", "acc", "4", "50.0 %", "100.0 %", "+50.0"]
    assert acc[7] == "0.5000"
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(harness_table(found))
    assert " ".join(found["comparison"]["sentence"].split()) in " ".join(console.export_text().split())


def test_without_a_trained_model_the_columns_are_the_base_model_s():
    found = summary(choices(1, 0, 0, 0), None)
    assert harness_rows(found)[1] == ["choice", "acc", "4", "25.0 %"]
    assert harness_in_words(found) == harness_headline(found).text == "25.0 % of 4 items right (choice)"


def test_a_group_s_figures_stand_below_its_tasks():
    base = choices(1, 0, 0, 0)
    base.results["groups"]["all"] = {"tasks": ["choice"], "metrics": {"acc,none": 0.25}}
    assert harness_rows(summary(base, base))[-1] == ["all (group)", "acc", "", "0.25", "0.25", "", "", ""]


def _many():
    tasks = [f"t{n}" for n in range(5)]
    rows = [sample(name, 0, acc=1) for name in tasks] + [sample("text", 0, ppl=[-3.0, 2])]
    keys = {name: {"acc,none": (1.0, "mean", True)} for name in tasks}
    return harness_headline(
        summary(outcome(rows, text={"ppl,none": (4.5, "weighted_perplexity", False)}, **keys), None)
    )


def test_the_headline_of_tasks_without_right_and_wrong_is_their_first_metric():
    def model(value):
        rows = [sample("text", 0, ppl=[-3.0, 2])]
        return outcome(rows, text={"ppl,none": (value, "weighted_perplexity", False)})

    headline = harness_headline(summary(model(30.0), model(20.0)))
    assert headline.text == "text ppl: 30 → 20 on 1 items"
    assert (headline.base_score, headline.trained_score, headline.difference) == (30.0, 20.0, -10.0)
    assert _many().text == "100.0 % of 5 items right (t0, t1, t2 and 2 more)"
    whole = harness_headline(summary(choices(0, 0, 1, 1), choices(0, 1, 1, 1)))
    assert whole.text == (
        "50.0 % → 75.0 % of 4 items right (choice): +25.0 points: no evidence of a difference"
    )
