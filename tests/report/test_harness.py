from tests.scoring.test_harness import choices, outcome, sample, summary
from tunix_exp.evidence.kinds.harness import harness_headline
from tunix_exp.report.harness import harness_line, harness_table
from tunix_exp.report.result import sentences
from tunix_exp.report.table import as_text


def test_every_metric_of_every_task_is_a_row_with_its_change_in_its_own_unit():
    found = summary(choices(0, 0, 1, 1, f1=0.25), choices(1, 1, 1, 1, f1=0.5))
    assert harness_table(found).columns == (
        "task", "metric", "items", "base", "trained", "change", "95 % CI", "p",
    )  # fmt: skip
    f1, acc = harness_table(found).rows
    assert list(f1[:6]) == ["choice", "f1", "4", "0.25", "0.5", "+0.25"]
    assert list(acc[:6]) == ["choice", "acc", "4", "50.0 %", "100.0 %", "+50.0"]
    assert acc[7] == "0.5000"
    (sentence,) = sentences(found)
    assert sentence.startswith("No evidence of a difference: 50.0 % → 100.0 % acc on 4 items, +50.0 points")
    assert " ".join(as_text(harness_table(found), [sentence]).split()).endswith(sentence)


def test_without_a_trained_model_the_columns_are_the_base_model_s():
    found = summary(choices(1, 0, 0, 0), None)
    assert harness_table(found).rows[1] == ("choice", "acc", "4", "25.0 %")
    assert harness_line(found) == "25.0 % acc on 4 items (choice)"
    assert sentences(found) == ["25.0 % acc on 4 items (choice)."]


def test_a_group_s_figures_stand_below_its_tasks():
    base = choices(1, 0, 0, 0)
    base.results["groups"]["all"] = {"tasks": ["choice"], "metrics": {"acc,none": 0.25}}
    assert harness_table(summary(base, base)).rows[-1] == (
        "all (group)", "acc", "", "0.25", "0.25", "", "", "",
    )  # fmt: skip


def _many():
    tasks = [f"t{n}" for n in range(5)]
    rows = [sample(name, 0, acc=1) for name in tasks] + [sample("text", 0, ppl=[-3.0, 2])]
    keys = {name: {"acc,none": (1.0, "mean", True)} for name in tasks}
    return harness_line(
        summary(outcome(rows, text={"ppl,none": (4.5, "weighted_perplexity", False)}, **keys), None)
    )


def test_the_headline_of_tasks_without_right_and_wrong_is_their_first_metric():
    def model(value):
        rows = [sample("text", 0, ppl=[-3.0, 2])]
        return outcome(rows, text={"ppl,none": (value, "weighted_perplexity", False)})

    found = summary(model(30.0), model(20.0))
    headline = harness_headline(found)
    assert harness_line(found) == "text ppl: 30 → 20 on 1 items"
    assert (headline.base_score, headline.trained_score, headline.difference) == (30.0, 20.0, -10.0)
    assert _many() == "100.0 % acc on 5 items (t0, t1, t2 and 2 more)"
    assert harness_line(summary(choices(0, 0, 1, 1), choices(0, 1, 1, 1))) == (
        "50.0 % → 75.0 % acc on 4 items (choice): +25.0 points, no evidence of a difference"
    )
