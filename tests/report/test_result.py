import pytest

from tests.report.run_files import summary
from tunix_exp.report.result import form_row, result_line, sample_table, sentences, table
from tunix_exp.report.table import as_markdown, as_text
from tunix_exp.scoring.scorecard import Prediction


def cells(text, name):
    line = next(line for line in text.splitlines() if line.startswith(name))
    return line.removeprefix(name).split()


def against(verdict="held", **changes):
    baseline = {"run_id": "X", "tolerance_points": 2.0, "verdict": verdict} | changes
    return {**summary(), "baseline": baseline | {"comparison": summary()["comparison"]}}


def test_the_table_sets_base_against_trained_overall_and_per_group():
    text = as_text(table(summary()))
    overall = ["12", "25.0", "%", "91.7", "%", "+66.7", "[21.4,", "85.7]"]
    assert cells(text, "all items") == [*overall, "0.0078"]
    assert cells(text, "section core") == [*overall, "0.0234"]
    assert cells(text, "category addition")[:2] == ["11", "18.2"]
    loss = cells(text, "held-out nats/token")
    assert loss == ["12", "3.2500", "0.5000", "−2.750", "[−2.822,", "−2.683]"]
    assert "difficulty" not in text
    assert "Holm correction over the 3 groups' p-values, CIs unadjusted." in " ".join(text.split())


def test_the_result_in_a_sentence_comes_last_and_all_fits_80_columns():
    text = as_text(table(summary()), sentences(summary()))
    (sentence,) = sentences(summary())
    assert sentence == (
        "The trained model is better: 25.0 % → 91.7 % exact match on 12 items, +66.7 points "
        "(95 % CI [21.4, 85.7], exact McNemar p = 0.0078); 8 wrong → right, 0 right → wrong."
    )
    assert " ".join(text.split()).endswith(sentence)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


def test_a_result_without_evidence_tells_what_could_have_been_detected():
    shown = summary()
    shown["comparison"] |= {
        "verdict": "no evidence of a difference",
        "smallest_detectable_difference": 0.4216,
    }
    assert sentences(shown)[0].startswith(
        "No evidence of a difference: 25.0 % → 91.7 % exact match on 12 items,"
    )
    assert sentences(shown)[0].endswith("Minimum detectable difference at 80 % power: 42.2 points (n = 12).")
    shown["comparison"]["smallest_detectable_difference"] = None
    assert sentences(shown)[0].endswith("With n = 12 no difference can be significant.")
    assert result_line(shown).endswith("(+66.7 points, no evidence of a difference)")


def test_without_a_trained_model_only_the_base_stands_there():
    shown = table(summary(with_trained=False))
    text = as_text(shown, sentences(summary(with_trained=False)))
    assert len(shown.columns) == 3
    assert cells(text, "all items") == ["12", "25.0", "%"]
    assert cells(text, "held-out nats/token") == ["12", "3.2500"]
    assert "trained" not in text
    assert "Holm" not in text
    assert "change" not in text
    assert text.endswith("\n\n25.0 % exact match on 12 items.")


@pytest.mark.parametrize(("verdict", "said"), [("held", "no regression"), ("regressed", "regressed")])
def test_the_sentence_on_the_baseline_comes_last(verdict, said):
    first, last = sentences(against(verdict))
    assert first == sentences(summary())[0]
    assert last.startswith(f"Baseline X (tolerance 2 points): {said}. This run is better: 25.0 % → 91.7 %")
    assert result_line(against(verdict)).endswith(f"; {verdict} against X (+66.7 points)")


def test_in_markdown_the_same_figures_stand_below_the_same_heads():
    text = as_markdown(table(summary()))
    assert text.startswith("|  | items | base | trained | change | 95 % CI | p |\n")
    assert "| all items | 12 | 25.0 % | 91.7 % | +66.7 | [21.4, 85.7] | 0.0078 |" in text
    assert "| `category a\\|b` | 1 |" in text
    assert text.endswith("\n\n" + table(summary()).note)


def test_too_few_items_for_an_interval_are_said():
    shown = summary()
    shown["comparison"]["heldout_loss"]["interval_95"] = None
    assert table(shown).rows[-1][5] == "too few items"


def test_the_sample_table_keeps_its_cells_apart() -> None:
    def said(output: str, *, correct: bool) -> Prediction:
        return Prediction(
            id="i",
            prompt="a|b\nc",
            expected_answer="1",
            output=output,
            extracted_answer=None,
            correct=correct,
            section=None,
            category=None,
            difficulty=None,
            tokens=1,
            stop_reason="eos",
        )

    table = sample_table([said("<b>x", correct=False)] * 3, [said("1", correct=True)] * 3, rows=2)
    lines = table.splitlines()
    assert lines[0] == "| item | prompt | expected | base | trained |"
    assert lines[2] == "| i | a\\|b<br>c | 1 | ✗ &lt;b>x | ✓ 1 |"
    assert len(lines) == 4


def test_the_form_of_the_answers_has_a_row_of_its_own_where_it_was_recorded():
    summary = {
        "base": {"well_formed": 1, "scorecard": {"n_items": 4}},
        "trained": {"well_formed": 3},
    }
    assert form_row(summary) == ("4", "25.0 %", "75.0 %", "+50.0", "", "")
    assert form_row({**summary, "trained": None}) == ("4", "25.0 %", "", "", "", "")
    assert form_row({**summary, "base": {"well_formed": None}}) is None
    assert form_row({**summary, "base": {}}) is None
