"""What a model made of the harness's items, task by task, and how two models compare on the same.

The harness says what each item scored; sums, pairs and intervals are computed here from those scores, so that
anybody can compute them again without the harness.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunix_exp.errors import UserError
from tunix_exp.scoring.paired import (
    STATISTICS_VERSION,
    Flips,
    ItemLoss,
    accuracy_interval,
    compare,
    loss_interval,
    mcnemar_p,
)

_TYPES: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "task": (str,),
    "doc_id": (int,),
    "filter": (str,),
    "doc": (dict, str, list),
    "arguments": (list,),
    "target": (str, int, list, float, dict, type(None)),
    "responses": (list,),
    "filtered": (list,),
    "metrics": (dict,),
    "doc_hash": (str,),
    "prompt_hash": (str,),
    "target_hash": (str,),
}
# The scores of one metric on all items: right or wrong; numbers; a log-likelihood and what it is spread over.
YES_NO, NUMBER, SPREAD, OTHER = "yes or no", "number", "spread", "other"
# What two models are compared by.
SHARE_RIGHT, MEAN, NATS = "share right", "mean", "nats per item"
NATS_EACH, BITS_EACH = "nats per word or byte", "bits per byte"


@dataclass(frozen=True, slots=True)
class Sample:
    """One item of one task as one model met it, through one filter: a line of `harness/*.jsonl`."""

    id: str
    task: str
    doc_id: int
    filter: str
    doc: Any
    arguments: list[Any]
    target: Any
    responses: list[Any]
    filtered: list[Any]
    metrics: dict[str, Any]
    doc_hash: str
    prompt_hash: str
    target_hash: str

    @classmethod
    def from_dict(cls, row: Mapping[str, Any], *, where: str) -> "Sample":
        """The item that `row` spells; else a `UserError` with `where` (file and line) and every fault."""
        faults = [f"`{key}` is missing" for key in _TYPES if key not in row]
        faults += [f"`{key}` is unknown" for key in row if key not in _TYPES]
        for key, types in _TYPES.items():
            if key in row and type(row[key]) not in types:
                faults.append(f"`{key}` is {row[key]!r:.60}")
        if faults:
            raise UserError(
                "not an item of the harness: " + "; ".join(faults),
                where=where,
                remedy="an item has exactly the keys " + ", ".join(_TYPES),
            )
        return cls(**row)

    @property
    def same_question(self) -> tuple[str, ...]:
        """What must be equal when another model meets the item."""
        return (self.id, self.task, self.filter, self.doc_hash, self.prompt_hash, self.target_hash)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one model made of all tasks: the harness's results by task, and every item."""

    results: Mapping[str, Any]
    samples: Sequence[Sample]

    def scores(self, task: str, key: str) -> list[Any]:
        """The scores of the metric `name,filter` on the task's items, in their order."""
        metric, name = key.split(",", 1)
        return [
            one.metrics[metric]
            for one in self.samples
            if one.task == task and one.filter == name and metric in one.metrics
        ]


@dataclass(frozen=True, slots=True)
class _Mark:
    """An item that is right or wrong; its section is its task."""

    id: str
    correct: bool
    section: str | None
    category: None = None
    difficulty: None = None


def kind_of(scores: Sequence[Any]) -> str:
    """Of which kind the scores of one metric are."""
    if scores and all(type(one) in (int, float, bool) for one in scores):
        return YES_NO if all(one in (0, 1) for one in scores) else NUMBER
    is_spread = bool(scores) and all(
        isinstance(one, list)
        and len(one) == 2
        and type(one[0]) is float
        and type(one[1]) is int
        and one[0] <= 0 < one[1]
        for one in scores
    )
    return SPREAD if is_spread else OTHER


def aggregated(scores: Sequence[Any], aggregation: str) -> float | None:
    """The value of a metric, summed up from its items; `None` for sums that only the harness knows."""
    kind = kind_of(scores)
    if kind in (YES_NO, NUMBER):
        mean = math.fsum(scores) / len(scores)
        return {"mean": lambda: mean, "perplexity": lambda: math.exp(-mean)}.get(aggregation, lambda: None)()
    if kind == SPREAD:
        nats = -math.fsum(one[0] for one in scores) / sum(one[1] for one in scores)
        known = {"weighted_perplexity": lambda: math.exp(nats), "bits_per_byte": lambda: nats / math.log(2)}
        return known.get(aggregation, lambda: None)()
    return None


def harness_summary(base: Outcome, trained: Outcome | None, *, resamples: int, seed: int) -> dict[str, Any]:
    """`harness_summary.json`: every metric of every task for both models, and the comparison of the items
    that are right or wrong. `trained` is `None` in mode eval.
    """
    primaries = {name: _primary(name, base, trained) for name in base.results["tasks"]}
    before = marks(base.samples, primaries)
    return {
        "lm_eval": base.results["lm_eval"],
        "statistics": STATISTICS_VERSION,
        "tasks": {
            name: {
                "n_items": part["n_items"],
                "num_fewshot": part["num_fewshot"],
                "version": part["version"],
                "metrics": {
                    key: _metric(name, key, base, trained, resamples=resamples, seed=seed)
                    for key in part["metrics"]
                },
            }
            for name, part in base.results["tasks"].items()
        },
        "groups": {
            name: {
                "tasks": part["tasks"],
                "metrics": {
                    key: {"base": value, "trained": None if trained is None else _group(trained, name)[key]}
                    for key, value in part["metrics"].items()
                },
            }
            for name, part in base.results["groups"].items()
        },
        "primary": primaries,
        "n_right_or_wrong": len(before),
        "base_accuracy": sum(one.correct for one in before) / len(before) if before else None,
        "comparison": _comparison(before, trained, primaries, resamples=resamples, seed=seed),
    }


def _primary(task: str, base: Outcome, trained: Outcome | None) -> str | None:
    """The first metric of a task by which each item is right or wrong, in the task's own order."""
    metrics = base.results["tasks"][task]["metrics"]
    rising = [key for key in metrics if metrics[key]["higher_is_better"] is True]
    return next((key for key in rising if kind_of(_all_scores(task, key, base, trained)) == YES_NO), None)


def _all_scores(task: str, key: str, base: Outcome, trained: Outcome | None) -> list[Any]:
    return base.scores(task, key) + ([] if trained is None else trained.scores(task, key))


def marks(samples: Sequence[Sample], primaries: Mapping[str, str | None]) -> list[_Mark]:
    """Every item that is right or wrong by its task's primary metric."""
    found = []
    for one in samples:
        key = primaries[one.task]
        if key is not None and key == f"{key.split(',')[0]},{one.filter}":
            found.append(_Mark(one.id, bool(one.metrics[key.split(",")[0]]), one.task))
    return found


def _comparison(
    before: list[_Mark],
    trained: Outcome | None,
    primaries: Mapping[str, str | None],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any] | None:
    if trained is None or not before:
        return None
    return compare(before, marks(trained.samples, primaries), resamples=resamples, seed=seed)


def _metric(
    task: str, key: str, base: Outcome, trained: Outcome | None, *, resamples: int, seed: int
) -> dict[str, Any]:
    """One metric of both models; difference and interval are of what `of` says, else null."""
    says = base.results["tasks"][task]["metrics"][key]
    of = _compared_as(kind_of(_all_scores(task, key, base, trained)), says["aggregation"])
    found = {"higher_is_better": says["higher_is_better"], "of": of, "base": says["value"]}
    found |= dict.fromkeys(("trained", "difference", "interval_95", "p"))
    if trained is None:
        return found
    found["trained"] = trained.results["tasks"][task]["metrics"][key]["value"]
    before, after = base.scores(task, key), trained.scores(task, key)
    if of is None or len(before) != len(after):
        return found
    if of == SHARE_RIGHT:
        flips = Flips.of([(bool(one), bool(other)) for one, other in zip(before, after, strict=True)])
        return found | {
            "difference": flips.difference,
            "interval_95": accuracy_interval(flips, resamples=resamples, seed=seed),
            "p": mcnemar_p(flips),
        }
    losses = [[_amount(of, one) for one in side] for side in (before, after)]
    means = [math.fsum(one.nats for one in side) / sum(one.tokens for one in side) for side in losses]
    interval = loss_interval(*losses, resamples=resamples, seed=seed)
    return found | {"difference": means[1] - means[0], "interval_95": interval}


def _compared_as(kind: str, aggregation: str) -> str | None:
    """What two models are compared by in a metric: a share, a mean, or what a perplexity is the power of."""
    is_number = kind in (YES_NO, NUMBER)
    match aggregation:
        case "mean":
            return SHARE_RIGHT if kind == YES_NO else MEAN if kind == NUMBER else None
        case "perplexity":
            return NATS if is_number else None
        case "weighted_perplexity":
            return NATS_EACH if kind == SPREAD else None
        case "bits_per_byte":
            return BITS_EACH if kind == SPREAD else None
        case _:
            return None


def _amount(of: str, score: Any) -> ItemLoss:
    """An item's score as an amount and what it is spread over."""
    if of in (NATS_EACH, BITS_EACH):
        return ItemLoss("", -score[0] / (math.log(2) if of == BITS_EACH else 1.0), score[1])
    return ItemLoss("", -float(score) if of == NATS else float(score), 1)


def _group(outcome: Outcome, name: str) -> Mapping[str, Any]:
    return outcome.results["groups"][name]["metrics"]
