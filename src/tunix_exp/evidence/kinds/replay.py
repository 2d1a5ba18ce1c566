"""`replay.json`: how the numbers of a run compare with those of the run that it repeats."""

from tunix_exp.evidence.kinds.kind import Found, Kind, only
from tunix_exp.evidence.opened import OpenedRun, differs, lookup


def _same_run(run: OpenedRun) -> Found:
    """It is of the run that the manifest names."""
    says = run.manifest.model_dump(mode="json")["replay_of"]
    yield from differs("replay_of", lookup(run.object(KIND), "replay_of", KIND.path), "the manifest", says)


KIND = Kind(
    path="replay.json",
    name="comparison with the run that is repeated",
    holds="how this run's numbers compare with those of the run that it repeats",
    when=only("must", lambda facts: facts.is_replay),
    at_any_end=(_same_run,),
)
