import math

import pytest

from tunix_exp.errors import UserError
from tunix_exp.scoring.harness import Outcome, Sample, aggregated, harness_summary, kind_of

EMPTY = {"doc": {}, "arguments": [], "target": 0, "responses": [], "filtered": []}
EMPTY |= {"doc_hash": "d", "prompt_hash": "p", "target_hash": "t"}


def sample(task, number, through="none", **metrics):
    row = {"id": f"{task}/{number}/{through}", "task": task, "doc_id": number, "filter": through}
    return Sample.from_dict({**row, **EMPTY, "metrics": metrics}, where="line 1")


def outcome(samples, **metrics):
    """`metrics` are keys of tasks with (value, aggregation, whether more is better) by `name,filter`."""
    tasks = {
        task: {
            "n_items": len({one.doc_id for one in samples if one.task == task}),
            "num_fewshot": 0,
            "version": 1.0,
            "metrics": {
                key: {"value": value, "aggregation": aggregation, "higher_is_better": better}
                for key, (value, aggregation, better) in keys.items()
            },
        }
        for task, keys in metrics.items()
    }
    return Outcome({"lm_eval": "0.4.13", "tasks": tasks, "groups": {}}, samples)


def summary(base, trained):
    return harness_summary(base, trained, resamples=1000, seed=0)


def choices(*right, f1=0.5):
    rows = [sample("choice", n, acc=float(one), f1=f1) for n, one in enumerate(right)]
    value = sum(right) / len(right)
    return outcome(rows, choice={"f1,none": (f1, "mean", True), "acc,none": (value, "mean", True)})


def test_items_are_paired_by_the_first_metric_that_says_right_or_wrong():
    found = summary(choices(0, 0, 1, 1, 0, 0, 0, 0), choices(1, 1, 1, 0, 1, 1, 1, 1, f1=0.75))
    assert found["primary"] == {"choice": "acc,none"}
    assert found["base_accuracy"] == 0.25
    assert found["n_right_or_wrong"] == found["comparison"]["n_items"] == 8
    assert (found["comparison"]["flips_to_right"], found["comparison"]["flips_to_wrong"]) == (6, 1)
    acc, f1 = (found["tasks"]["choice"]["metrics"][key] for key in ("acc,none", "f1,none"))
    assert acc["of"] == "share right"
    assert acc["difference"] == 0.625
    assert acc["p"] == found["comparison"]["mcnemar_p"] == 0.125
    assert f1["of"] == "mean"
    assert (f1["difference"], f1["interval_95"], f1["p"]) == (0.25, [0.25, 0.25], None)


def test_a_metric_that_is_a_whole_number_for_one_model_alone_is_not_right_or_wrong():
    base = outcome([sample("t", n, f1=0.0) for n in range(4)], t={"f1,none": (0.0, "mean", True)})
    trained = outcome([sample("t", n, f1=0.5) for n in range(4)], t={"f1,none": (0.5, "mean", True)})
    found = summary(base, trained)
    assert found["primary"] == {"t": None}
    assert found["comparison"] is found["base_accuracy"] is None


def test_several_tasks_are_compared_together_and_each_as_a_section():
    def model(*right):
        rows = [sample("one", n, acc=r) for n, r in enumerate(right[:4])]
        rows += [sample("two", n, "strict", em=r) for n, r in enumerate(right[4:])]
        # the same items through another filter are not asked twice
        rows += [sample("two", n, "loose", em=1) for n, r in enumerate(right[4:])]
        return outcome(
            rows,
            one={"acc,none": (0.5, "mean", True)},
            two={"em,strict": (0.5, "mean", True), "em,loose": (1.0, "mean", True)},
        )

    found = summary(model(0, 0, 1, 1, 0, 1, 0), model(1, 1, 1, 1, 0, 1, 0))
    sections = found["comparison"]["per_section"]
    assert found["comparison"]["n_items"] == 7
    assert {name: part["difference"] for name, part in sections.items()} == {"one": 0.5, "two": 0.0}


def test_a_perplexity_is_compared_in_what_it_is_the_power_of():
    def model(*nats):
        rows = [sample("text", n, ppl=[-one, 10], bpb=[-one, 50]) for n, one in enumerate(nats)]
        total = sum(nats)
        return outcome(
            rows,
            text={
                "ppl,none": (math.exp(total / 60), "weighted_perplexity", False),
                "bpb,none": (total / 300 / math.log(2), "bits_per_byte", False),
            },
        )

    before, after = model(30.0, 31.0, 33.0, 30.5, 32.0, 35.0), model(29.0, 30.5, 32.5, 29.0, 31.0, 34.0)
    found = summary(before, after)["tasks"]["text"]["metrics"]
    assert found["ppl,none"]["of"] == "nats per word or byte"
    assert found["ppl,none"]["difference"] == pytest.approx(-5.5 / 60)
    low, high = found["ppl,none"]["interval_95"]
    assert low < -5.5 / 60 < high < 0
    assert found["bpb,none"]["difference"] == pytest.approx(-5.5 / 300 / math.log(2))


def test_without_a_trained_model_there_are_scores_and_no_comparison():
    found = summary(choices(1, 0, 0, 0), None)
    assert (found["base_accuracy"], found["comparison"]) == (0.25, None)
    assert found["tasks"]["choice"]["metrics"]["acc,none"]["trained"] is None


@pytest.mark.parametrize(
    ("scores", "kind", "aggregation", "value"),
    [
        ([1.0, 0, True, 0.0], "yes or no", "mean", 0.5),
        ([0.25, 0.75], "number", "mean", 0.5),
        ([-1.0, -3.0], "number", "perplexity", math.exp(2)),
        ([[-6.0, 2], [-2.0, 2]], "spread", "weighted_perplexity", math.exp(2)),
        ([[-6.0, 2], [-2.0, 2]], "spread", "bits_per_byte", 2 / math.log(2)),
        ([[0, 1], [1, 1]], "other", "other", None),
        (["a", "b"], "other", "mean", None),
        ([0.25, 0.75], "number", "other", None),
        ([], "other", "mean", None),
    ],
)
def test_scores_are_summed_up_as_the_harness_sums_them(scores, kind, aggregation, value):
    assert kind_of(scores) == kind
    assert aggregated(scores, aggregation) == (None if value is None else pytest.approx(value))


def test_a_line_that_is_no_item_is_refused_with_every_fault():
    with pytest.raises(UserError) as caught:
        Sample.from_dict({"id": 3, "task": "t", "surplus": 1}, where="harness/base.jsonl, line 2")
    for text in ("`id` is 3", "`surplus` is unknown", "`doc_hash` is missing", "line 2"):
        assert text in str(caught.value)
