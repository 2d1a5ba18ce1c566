"""`origin.json`: the earlier run whose trained model this one began with."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from tunix_exp.evidence.kinds.kind import Disagreement, Found, Kind, only
from tunix_exp.evidence.kinds.read import parsed, read_object
from tunix_exp.evidence.layout import MANIFEST
from tunix_exp.evidence.opened import OpenedRun, differs
from tunix_exp.evidence.sections import Count, Sha256, Word
from tunix_exp.schema import Config


class Link(Config):
    """A run of the chain: its manifest's hash, and that of the model that it trained."""

    run_id: Word
    name: Word
    manifest_sha256: Sha256
    trained_weight_hash: Sha256


class Origin(Config):
    """The run that this one began with: where it lay, which part of it was read, of a checkpoint its step;
    whether the numbers were taken as they stood there; its tokenizer, and the tokens that end an answer.

    `chain` are that run and those that it began with in turn, the first of all last.
    """

    place: Word
    part: Word
    step: Count | None
    is_exact: bool
    tokenizer_digest: Sha256
    end_ids: Annotated[tuple[Count, ...], Field(strict=False)]
    chain: Annotated[tuple[Link, ...], Field(strict=False, min_length=1)]


def origin_of(run: OpenedRun) -> Origin:
    """What the file says."""
    return parsed(Origin, run.object(KIND), file=KIND.path)


def origin_if_any(root: Path) -> Origin | None:
    """What the file of the run at `root` says; None where the run began with no other."""
    if not (root / KIND.path).is_file():
        return None
    return parsed(Origin, read_object(KIND, root), file=KIND.path)


def _due(run: OpenedRun) -> Found:
    """It is there where the weights were read from a run."""
    model = run.manifest.model
    if model is not None and MANIFEST in model.files and not run.has(KIND.path):
        yield Disagreement(KIND.path, f"is missing: {MANIFEST} says that the weights are those of a run")


def _begun(run: OpenedRun) -> Found:
    """The weights were read from that run, and are those that it had trained."""
    model, origin = run.manifest.model, origin_of(run)
    if model is None:
        return
    first = origin.chain[0]
    yield from differs("chain", first.manifest_sha256, "model.files", model.files.get(MANIFEST))
    yield from differs("place", origin.place, "model.weights", model.weights)
    if origin.is_exact:
        yield from differs(
            "trained_weight_hash", first.trained_weight_hash, "model.base_weight_hash", model.base_weight_hash
        )
    yield from differs(
        "tokenizer_digest", origin.tokenizer_digest, "model.tokenizer_digest", model.tokenizer_digest
    )


KIND = Kind(
    path="origin.json",
    name="origin",
    holds="the earlier run whose trained model this one began with, and the runs before it",
    when=only("may", lambda facts: facts.computes),
    schema=Origin,
    integrity=(_due, _begun),
)
