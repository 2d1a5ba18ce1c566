from tunix_exp.report.classes import tables_of_answers
from tunix_exp.report.verdicts import verdict_table

KINDS = ("clean", "arithmetic", "copied", "unit", "dropped")


def part(**counts: tuple[int, int, int, int]) -> dict:
    names = ("n_items", "detected", "located", "corrected")
    verdicts = {
        kind: {"is_said": 0, **dict(zip(names, counts.get(kind, (0, 0, 0, 0)), strict=True))}
        for kind in KINDS
    }
    return {"scorecard": {"n_items": 4, "verdicts": verdicts}}


def test_the_table_has_the_kinds_that_were_shown_and_the_rates_with_their_intervals():
    trained = part(clean=(100, 2, 0, 0), unit=(50, 40, 22, 21), dropped=(150, 74, 40, 3))
    shown = verdict_table(
        {"base": part(clean=(100, 0, 0, 0), unit=(50, 0, 0, 0), dropped=(150, 0, 0, 0)), "trained": trained}
    )
    assert shown is not None
    assert shown.columns[:3] == ("slip", "items", "base: detected")
    assert shown.rows == [
        ("no slip", "100", "0", "", "", "2", "", ""),
        ("unit", "50", "0", "0", "0", "40", "22", "21"),
        ("step left out", "150", "0", "0", "0", "74", "40", "3"),
    ]
    assert "Trained: detected 114 of 200 (57.0 % [50.1, 63.7])" in shown.note
    assert shown.note.endswith("false alarms 2 of 100 (2.0 % [0.6, 7.0]).")
    assert tables_of_answers({"base": trained, "trained": None})[0].title == "Verdicts on shown traces"


def test_there_is_no_table_where_no_trace_was_shown():
    assert verdict_table({"base": {"scorecard": {"n_items": 4}}, "trained": None}) is None
    assert verdict_table({"tasks": {}, "base": None, "trained": None}) is None
