"""`replay.json`: how the numbers of a run compare with those of the run that it repeats."""

from collections.abc import Iterator

from tunix_exp.evidence.kinds.kind import Check, Disagreement, Due, Facts, Kind
from tunix_exp.evidence.opened import OpenedRun, lookup


def _when(facts: Facts) -> Due:
    return "must" if facts.is_replay else "never"


def _same_run(run: OpenedRun) -> Iterator[Disagreement]:
    """It is of the run that the manifest names."""
    record = run.manifest.replay_of
    says = lookup(run.object(KIND), "replay_of", KIND.path)
    if says != (None if record is None else record.model_dump(mode="json")):
        yield Disagreement(KIND.path, "`replay_of` is not that of the manifest")


KIND = Kind(
    path="replay.json",
    name="comparison with the run that is repeated",
    holds="how this run's numbers compare with those of the run that it repeats",
    when=_when,
    integrity=(Check(_same_run, ("replay.json",), at_any_end=True),),
)
