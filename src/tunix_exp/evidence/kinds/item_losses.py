"""`heldout/base.jsonl`, `heldout/trained.jsonl`: each model's loss on each held-out item."""

from tunix_exp.evidence.kinds import predictions
from tunix_exp.evidence.kinds.kind import Compared, Found, Kind, when_evaluated
from tunix_exp.evidence.kinds.predictions import unlike_lines
from tunix_exp.evidence.opened import OpenedRun
from tunix_exp.scoring.paired import ItemLoss


def _base(run: OpenedRun) -> Found:
    """The base model's losses are of the items that it answered."""
    return unlike_lines(run, predictions.BASE, BASE)


def _trained(run: OpenedRun) -> Found:
    """The trained model's are, each of as many tokens as the base model's."""
    yield from unlike_lines(run, predictions.TRAINED, TRAINED)
    yield from unlike_lines(run, BASE, TRAINED, "tokens")


BASE, TRAINED = (
    Kind(
        path=f"heldout/{which}.jsonl",
        name=f"{which} held-out losses",
        holds=f"the {which} model's loss on each held-out item",
        when=when_evaluated("items", which),
        schema=ItemLoss,
        integrity=(check,),
        compared=(Compared("id", of_the_end=which == "trained"),),
    )
    for which, check in (("base", _base), ("trained", _trained))
)
