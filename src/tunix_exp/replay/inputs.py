"""A replay's config: that of the run, its inputs pinned, each where it lies now and what the run read."""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tunix_exp import config as configs
from tunix_exp import references
from tunix_exp.config import Plain
from tunix_exp.data import files
from tunix_exp.errors import UserError
from tunix_exp.evidence import layout
from tunix_exp.evidence.kinds import data_card, plan
from tunix_exp.evidence.kinds.read import read_object
from tunix_exp.evidence.pack import is_packed_key
from tunix_exp.evidence.sections import training_sources
from tunix_exp.evidence.verified import VerifiedRun, at, put

# Where an input lies may be said anew; what it holds must be what the run read.
_PLACES = ("eval.source", "eval.include_path", "model.weights", "model.tokenizer", "adapter.weights")
PLACES = ("data.source", "data.mix.NAME.source", *_PLACES)


def places_of(original: VerifiedRun) -> tuple[str, ...]:
    """The keys that say where the run's inputs lie."""
    data = original.manifest.data
    return (*(("data.source",) if data is None else training_sources(data)), *_PLACES)


def replayed_config(
    config: Plain, original: VerifiedRun, *, steps: int | None, places: Mapping[str, str]
) -> Plain:
    """The run's config for its replay: from step 0, up to `steps`, inputs pinned and where they lie now.

    A resumed run has the bits of one that never stopped, so that its parent is not needed.
    """
    plain = copy.deepcopy(config)
    changes: Plain = {"training.resume": "never", "training.stop_at_step": steps}
    if original.setting("eval.baseline") is not None:
        # how the run did against another stands in its own evidence; the other may not be here
        changes |= {"eval.baseline": None, "eval.baseline_tolerance_points": None}
    if original.setting("model.remat") == "auto":
        chosen = plan.chosen_remat(read_object(plan.KIND, original.root))
        if chosen is not None:
            # chosen from the memory of a device, and this one's may be another
            changes["model.remat"] = chosen
    for key, revision in _revisions(original):
        if revision is not None:
            changes[key] = _pinned(str(original.setting(key)), revision, key)
    for key, place in places.items():
        _refuse_placeless(original, key, place)
        changes[key] = place
    for key, value in changes.items():
        put(plain, key, value)
    return plain


def _refuse_placeless(original: VerifiedRun, key: str, place: str) -> None:
    """The key is one of an input, and the run's own lies somewhere."""
    if key not in places_of(original):
        raise UserError(
            f"`{key}` is not for a replay to choose",
            where=f"{key}={place}",
            remedy=f"a replay may be told where its inputs lie now: {', '.join(places_of(original))}",
        )
    before = original.setting(key)
    placeless = references.Random | references.HeldOutRows
    if not isinstance(before, str) or isinstance(references.parse(before, key=key), placeless):
        raise UserError(
            f"the run's `{key}` is {before}: it lies nowhere",
            where=f"{key}={place}",
            remedy="leave the word away",
        )


def _revisions(original: VerifiedRun) -> Iterator[tuple[str, str | None]]:
    """The commits that the run's Hub references meant when it ran."""
    card = read_object(data_card.KIND, original.root)
    model = original.manifest.model
    yield "model.weights", None if model is None else model.revision
    yield "model.tokenizer", card["tokenizer"]["revision"]
    for key, facts in data_card.train_facts(card).items():
        yield key, facts["revision"]
    yield "eval.source", None if card["eval"] is None else card["eval"]["revision"]


def _pinned(text: str, revision: str, key: str) -> str:
    reference = references.parse(text, key=key)
    assert isinstance(reference, references.Hub)  # nothing else has a revision
    part = "" if reference.subset is None else f"#{reference.subset}/{reference.split}"
    return f"hub:{reference.repo}@{revision}{part}"


def local_files(original: VerifiedRun) -> dict[str, Path]:
    """The data files of the run on this machine, by their keys, as the run read them; of one file each."""
    _refuse_other_data(original, original.config)
    found = {}
    for key in filter(is_packed_key, places_of(original)):
        source = original.setting(key)
        reference = None if source is None else references.parse(source, key=key)
        if isinstance(reference, references.Local) and reference.path.is_file():
            found[key] = reference.path
    return found


def refuse_other_inputs(original: VerifiedRun, plain: Plain) -> None:
    """Every input that lies on this machine is what the run read, by its hash; what the Hub has is pinned."""
    _refuse_other_data(original, plain)
    _refuse_other_weights(original, plain)


def _refuse_other_data(original: VerifiedRun, plain: Plain) -> None:
    data, items = original.manifest.data, original.manifest.eval
    sources: dict[str, Any] = {} if data is None else dict(training_sources(data))
    recorded: Any
    for key, recorded in (sources | {"eval.source": items}).items():
        source = at(plain, key)
        if source is None or recorded is None:
            continue
        reference = references.parse(source, key=key)
        if isinstance(reference, references.Hub | references.HeldOutRows):
            continue  # pinned, or compared as the training set
        if isinstance(reference, references.Local) and not files.local_files(reference.path):
            raise _moved(key, f"`{source}` is not here", "absent", recorded.sha256)
        now = files.digest(source, key)
        if now != recorded.sha256:
            raise _moved(key, f"`{source}` has changed", now, recorded.sha256)
        _refuse_other_stem(original, key, source)


def _refuse_other_weights(original: VerifiedRun, plain: Plain) -> None:
    for section in ("model", "adapter"):
        key, recorded = f"{section}.weights", getattr(original.manifest, section)
        place = at(plain, key)
        reference = None if place is None else references.parse(place, key=key)
        if not isinstance(reference, references.Local) or recorded is None:
            continue
        for name, digest in recorded.files.items():
            file = reference.path / name
            now = layout.file_digest(file) if file.is_file() else "absent"
            if now != digest:
                raise _moved(key, f"`{file}` is not the file that was read", now, digest)


def _moved(key: str, what: str, now: str, then: str) -> UserError:
    return UserError(
        f"{what}: its sha256 is now {now}, and the run read {then}",
        where=key,
        remedy=f"bring back what the run read, or say where it lies: {key}=PATH",
    )


def _refuse_other_stem(original: VerifiedRun, key: str, source: str) -> None:
    before = original.setting(key)
    group = key.split(".")[0]
    of_its_own = at(original.config, f"{key.removesuffix('.source')}.fields.id")
    if (
        of_its_own is None
        and original.setting(f"{group}.fields.id") is None
        and Path(source).stem != Path(before).stem
    ):
        raise UserError(
            f"`{source}` has another name than `{before}`, and its rows go by the file's name",
            where=key,
            remedy=f"call it {Path(before).name}",
        )


def refuse_invalid(original: VerifiedRun, plain: Plain) -> None:
    """The run is one whose config this version takes; else a `UserError` names the version that does."""
    try:
        configs.validate(plain)
    except UserError as error:
        code = original.manifest.code
        raise UserError(
            f"this version does not take the run's config:\n{error.what}",
            where=str(original.root / layout.CONFIG),
            remedy=f"repeat it with the code that made it: version {code.version}, commit {code.git_commit}",
        ) from None
