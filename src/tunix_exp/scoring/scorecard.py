"""Predictions and the scores they add up to."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tunix_exp.errors import UserError
from tunix_exp.scoring.classes import Classification, counted
from tunix_exp.scoring.extract import extract, without_ends
from tunix_exp.scoring.match import compare, matches
from tunix_exp.scoring.symbolic import REMEDY
from tunix_exp.scoring.verdicts import counted as verdicts_counted
from tunix_exp.scoring.verdicts import verdict_on

StopReason = Literal["eos", "length", "stop"]

_TYPES: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "prompt": (str,),
    "expected_answer": (str,),
    "output": (str,),
    "extracted_answer": (str, type(None)),
    "correct": (bool,),
    "section": (str, type(None)),
    "category": (str, type(None)),
    "difficulty": (str, type(None)),
    "tokens": (int,),
    "stop_reason": (str,),
}
# Lines of earlier versions have none of them.
_LATER: dict[str, tuple[type, ...]] = {"question": (str,), "classification": (dict,)}


@dataclass(frozen=True, slots=True)
class Prediction:
    """One model's answer to one item: a line of `predictions/*.jsonl`. `tokens` counts the generated ones.

    `output` is all that was generated. Where `stop_reason` is `stop`, what stands before the first of the
    texts at which answers stop is what was scored. `question` is what the prompt asks, and `classification`
    what became of the answer; None in the lines of earlier versions.
    """

    id: str
    prompt: str
    expected_answer: str
    output: str
    extracted_answer: str | None
    correct: bool
    section: str | None
    category: str | None
    difficulty: str | None
    tokens: int
    stop_reason: StopReason
    question: str | None = None
    classification: Classification | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields in their order, ready for JSON."""
        row = dataclasses.asdict(self)
        return {key: value for key, value in row.items() if key not in _LATER or value is not None}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any], *, where: str) -> "Prediction":
        """The prediction that `row` spells; `where` (file and line) is what errors name.

        A `UserError` names every key that is missing, unknown or holds another type.
        """
        is_later = any(key in row for key in _LATER)
        due = _TYPES | _LATER if is_later else _TYPES
        faults = [f"`{key}` is missing" for key in due if key not in row]
        faults += [f"`{key}` is unknown" for key in row if key not in due]
        for key, types in due.items():
            if key in row and type(row[key]) not in types:
                wanted = " or ".join("null" if kind is type(None) else kind.__name__ for kind in types)
                faults.append(f"`{key}` is {row[key]!r:.60}, not {wanted}")
        if "stop_reason" in row and row["stop_reason"] not in get_args(StopReason):
            faults.append(f"`stop_reason` is {row['stop_reason']!r:.60}, not eos, length or stop")
        if faults:
            raise UserError(
                "not a prediction: " + "; ".join(faults),
                where=where,
                remedy="a prediction has exactly the keys " + ", ".join(_TYPES | _LATER),
            )
        if not is_later:
            return cls(**row)
        return cls(**{**row, "classification": Classification.from_dict(row["classification"], where=where)})


def score(output: str, expected: str) -> tuple[str | None, bool]:
    """The answer extracted from `output`, and whether it is the expected one.

    An output that is the expected answer, character for character, is the answer.
    """
    whole = without_ends(output).strip()
    if whole and whole == expected.strip():
        return whole, True
    extracted = extract(output).answer
    return extracted, matches(extracted, expected)


def scorecard(predictions: Iterable[Prediction], expected_ids: Sequence[str] | None = None) -> dict[str, Any]:
    """The fraction correct, overall and per section, category and difficulty.

    `n_items` counts `expected_ids` (without them, the predictions), `n_scored` the items with a
    prediction, `n_skipped` those without: they count as wrong in `primary_score` and `stddev`, and
    appear in no group, since nothing says which is theirs. `stddev` is the population's. A group's mapping
    leaves out items that have no such attribute. `matched_by` counts the right answers by the rule of
    docs/scoring.md that found them so; `undecided` counts wrong ones that the extra `math` might find right.
    `classes` counts what became of the answers, where the predictions have it; `verdicts` what was said of
    traces that the questions show, where they show any.

    A `UserError` refuses no items at all, an id twice, and a prediction for an item that is not expected.
    """
    predictions = list(predictions)
    ids = [prediction.id for prediction in predictions]
    _refuse_repeated(ids, "two predictions answer the same item")
    expected_ids = ids if expected_ids is None else expected_ids
    _refuse_repeated(expected_ids, "the same id names two items")
    strangers = sorted(set(ids) - set(expected_ids))
    if strangers:
        raise UserError(
            f"{len(strangers)} predictions answer items that are not in the eval set: {_some(strangers)}",
            remedy="score predictions with the eval set that they were made from",
        )
    if not expected_ids:
        raise UserError("there is no item to score", remedy="give an eval set with at least one item")
    verdicts = [
        compare(prediction.extracted_answer, prediction.expected_answer) for prediction in predictions
    ]
    n_undecided = sum(verdict.rule == "undecided" for verdict in verdicts)
    classes = [one.classification for one in predictions if one.classification is not None]
    of_traces = verdicts_counted([verdict_on(one.question or "", one.output) for one in predictions])
    primary_score = sum(prediction.correct for prediction in predictions) / len(expected_ids)
    return {
        "n_items": len(expected_ids),
        "n_scored": len(ids),
        "n_skipped": len(expected_ids) - len(ids),
        "primary_score": primary_score,
        "stddev": math.sqrt(primary_score * (1 - primary_score)),  # of zeros and ones
        "matched_by": dict(sorted(Counter(one.rule for one in verdicts if one.is_right).items())),
        "undecided": {"n_items": n_undecided, "remedy": REMEDY if n_undecided else None},
        "per_section": _per(predictions, "section"),
        "per_category": _per(predictions, "category"),
        "per_difficulty": _per(predictions, "difficulty"),
        **({"classes": counted(classes)} if predictions and len(classes) == len(predictions) else {}),
        **({} if of_traces is None else {"verdicts": of_traces}),
    }


def _per(predictions: Sequence[Prediction], attribute: str) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[bool]] = {}
    for prediction in predictions:
        name = getattr(prediction, attribute)
        if name is not None:
            groups.setdefault(name, []).append(prediction.correct)
    return {
        name: {"n_items": len(groups[name]), "primary_score": sum(groups[name]) / len(groups[name])}
        for name in sorted(groups)
    }


def _refuse_repeated(ids: Iterable[str], what: str) -> None:
    repeated = sorted(name for name, count in Counter(ids).items() if count > 1)
    if repeated:
        raise UserError(f"{what}: {_some(repeated)}", remedy="keep each id once")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
