"""What became of the answers, in words: the classes of `scoring/classes.py` as a table, and of one answer."""

from tunix_exp.report.comparison import Summary
from tunix_exp.report.table import Table
from tunix_exp.report.verdicts import verdict_table
from tunix_exp.scoring.classes import CLASSES, Class, Classification

LABELS: dict[Class, str] = {
    "right": "right",
    "right_answer_wrong_steps": "right answer from wrong steps",
    "repetition": "repetition",
    "cut_off": "cut off at the token limit",
    "no_answer": "no answer",
    "wrong_format": "wrong format",
    "wrong_step": "wrong step",
    "right_steps_wrong_answer": "right steps, wrong answer",
    "wrong_answer": "wrong answer",
}


def tables_of_answers(summary: Summary) -> list[Table]:
    """What the answers are beside right and wrong: their classes, and what they said of shown traces."""
    return [one for one in (class_table(summary), verdict_table(summary)) if one is not None]


def class_table(summary: Summary) -> Table | None:
    """How many answers of each model are of each class that occurs; None where the run recorded none."""
    models = [name for name in ("base", "trained") if summary.get(name) is not None]
    cards = [summary[name]["scorecard"] for name in models if "scorecard" in summary[name]]
    if not cards or any("classes" not in card for card in cards):
        return None
    counts = [card["classes"]["counts"] for card in cards]
    rows = [
        (LABELS[name], *(f"{count[name]:,}" for count in counts))
        for name in CLASSES
        if any(count[name] for count in counts)
    ]
    n_items, n_computed = cards[0]["n_items"], cards[0]["classes"]["n_steps_computed"]
    if n_computed:
        note = f"Steps computed from the question: {n_computed:,} of {n_items:,} items."
    else:
        note = "No item's steps can be computed from its question: steps were not judged."
    return Table("Answers by class", ("answers", *models), (tuple(rows),), note=note)


def in_words(classification: Classification | None) -> str | None:
    """The class of an answer, and its first wrong step; None of a right one, or where none was recorded."""
    if classification is None or classification.name == "right":
        return None
    said = LABELS[classification.name]
    if classification.step is None:
        return said
    expected, found = (
        "none" if text is None else f"“{text}”" for text in (classification.expected, classification.found)
    )
    return f"{said}: step {classification.step}, expected {expected}, found {found}"
