"""`heldout/base.jsonl`, `heldout/trained.jsonl`: each model's loss on each held-out item."""

from collections.abc import Iterator

from tunix_exp.evidence.kinds import predictions
from tunix_exp.evidence.kinds.kind import Check, Compared, Disagreement, Kind, when_evaluated
from tunix_exp.evidence.opened import OpenedRun
from tunix_exp.scoring.paired import ItemLoss


def _same_items(run: OpenedRun, losses: Kind, answers: Kind) -> Iterator[Disagreement]:
    if [one.id for one in run.rows(losses)] != [one.id for one in run.rows(answers)]:
        yield Disagreement(losses.path, f"has other ids than {answers.path}")


def _base(run: OpenedRun) -> Iterator[Disagreement]:
    """The base model's losses are of the items that it answered."""
    yield from _same_items(run, BASE, predictions.BASE)


def _trained(run: OpenedRun) -> Iterator[Disagreement]:
    """The trained model's are, each of as many tokens as the base model's."""
    yield from _same_items(run, TRAINED, predictions.TRAINED)
    pairs = zip(run.rows(BASE), run.rows(TRAINED), strict=False)
    for line, (before, after) in enumerate(pairs, start=1):
        if before.tokens != after.tokens:
            yield Disagreement(TRAINED.path, f"line {line}: `tokens` differs from {BASE.path}")


BASE = Kind(
    path="heldout/base.jsonl",
    name="base held-out losses",
    holds="the base model's loss on each held-out item",
    when=when_evaluated("items", trained=False),
    schema=ItemLoss,
    integrity=(Check(_base, ("heldout/base.jsonl", predictions.BASE.path)),),
    compared=(Compared("id"),),
)
TRAINED = Kind(
    path="heldout/trained.jsonl",
    name="trained held-out losses",
    holds="the trained model's loss on each held-out item",
    when=when_evaluated("items", trained=True),
    schema=ItemLoss,
    integrity=(Check(_trained, (BASE.path, "heldout/trained.jsonl", predictions.TRAINED.path)),),
    compared=(Compared("id", of_the_end=True),),
)
