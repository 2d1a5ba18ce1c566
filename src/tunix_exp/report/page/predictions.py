"""The table of predictions: both models' answers to each item, as the page's script reads them."""

from collections.abc import Sequence
from typing import Any

from tunix_exp.report.classes import in_words
from tunix_exp.report.page.render import packed
from tunix_exp.scoring.scorecard import Prediction

# An answer longer than this is cut, and says so: the whole stands in predictions/.
_MOST_CHARACTERS = 4000
# What the table may take of the page, packed: the page stays below 3 MB.
_MOST_BYTES = 1_800_000

LABELS = {
    "to_right": "wrong → right",
    "to_wrong": "right → wrong",
    "both_right": "both right",
    "both_wrong": "both wrong",
    "right": "right",
    "wrong": "wrong",
}
OUTCOMES = tuple(LABELS)
# Whether the base model has it right, and the trained one.
_OF_BOTH = {
    (False, True): "to_right",
    (True, False): "to_wrong",
    (True, True): "both_right",
    (False, False): "both_wrong",
}


def outcome(before: Prediction, after: Prediction | None) -> str:
    """What became of one item; without a trained model whether the base model has it right."""
    if after is None:
        return "right" if before.correct else "wrong"
    return _OF_BOTH[before.correct, after.correct]


def prediction_rows(base: Sequence[Prediction], trained: Sequence[Prediction]) -> list[dict[str, Any]]:
    """One row per item, in the order of the items."""
    return [
        {
            "id": before.id,
            "outcome": outcome(before, after),
            "prompt": _cut(before.prompt),
            "expected": _cut(before.expected_answer),
            "section": before.section,
            "category": before.category,
            "difficulty": before.difficulty,
            "base": _answer(before),
            "trained": None if after is None else _answer(after),
        }
        for before, after in zip(base, trained or [None] * len(base), strict=True)
    ]


def fitting(rows: list[dict[str, Any]], limit: int = _MOST_BYTES) -> list[dict[str, Any]]:
    """As many rows as `limit` packed bytes hold, flips first, in their own order."""
    ranked = sorted(range(len(rows)), key=lambda place: OUTCOMES.index(rows[place]["outcome"]))
    kept = rows
    while len(packed(kept)) > limit:
        fewer = int(len(kept) * min(0.9, limit / len(packed(kept))))
        kept = [rows[place] for place in sorted(ranked[:fewer])]
    return kept


def _answer(one: Prediction) -> dict[str, Any]:
    return {
        "output": _cut(one.output),
        "extracted": None if one.extracted_answer is None else _cut(one.extracted_answer),
        "correct": one.correct,
        "tokens": one.tokens,
        "cut": one.stop_reason == "length",
        "class": in_words(one.classification),
    }


def _cut(text: str) -> str:
    more = len(text) - _MOST_CHARACTERS
    return text if more <= 0 else f"{text[:_MOST_CHARACTERS]} […] ({more:,} more characters in predictions/)"
