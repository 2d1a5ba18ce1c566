"""The earlier run whose trained model this one begins with."""

from tunix_exp import references
from tunix_exp.config import RunConfig
from tunix_exp.data.tokenizer import Tokenizer
from tunix_exp.errors import UserError
from tunix_exp.evidence import layout
from tunix_exp.evidence.kinds import origin as kinds_origin
from tunix_exp.evidence.kinds.origin import Link, Origin, origin_if_any
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.evidence.verified import VerifiedRun, verified_run
from tunix_exp.models.adapter import base_dtype
from tunix_exp.models.run_folder import is_run, part_of
from tunix_exp.models.weights import Loaded


def checked_origin(config: RunConfig, evidence: RunDirectory) -> Origin | None:
    """What `model.weights` names, where that is a run, verified and its own chain with it; else None.

    Raises UserError where it is not verified, or trained no model.
    """
    place = config.model.weights
    reference = references.parse(place, key="model.weights")
    if not isinstance(reference, references.Local) or not is_run(reference.path):
        return None
    run = verified_run(reference.path)
    model = run.manifest.model
    if run.manifest.status != "completed" or model is None or model.trained_weight_hash is None:
        raise UserError(
            f"the run trained no model: it is a {run.manifest.status} run of mode {run.manifest.mode}",
            where=f"model.weights={place}",
            remedy="name a completed run that trained (mode=full or smoke), or a folder of weights",
        )
    part = part_of(reference.path)
    before = origin_if_any(run.root)
    origin = Origin(
        place=place,
        part=part.folder.relative_to(reference.path).as_posix(),
        step=part.step,
        is_exact=part.is_checkpoint and _is_same_type(config, run),
        tokenizer_digest=str(model.tokenizer_digest),
        end_ids=part.end_ids,
        chain=(_link(run, model.trained_weight_hash), *(() if before is None else before.chain)),
    )
    after = "" if part.step is None else f" after step {part.step:,}"
    evidence.log.say(f"model.weights: the trained model of run {run.manifest.run_id}{after} ({origin.part})")
    return origin


def check_tokenizer(origin: Origin, tokenizer: Tokenizer) -> None:
    """The tokenizer is that of the run, whose model knows no other's tokens; else UserError."""
    if tokenizer.digest != origin.tokenizer_digest:
        raise UserError(
            f"the tokenizer is not that of the run: its hash is {tokenizer.digest}, the run had"
            f" {origin.tokenizer_digest}",
            where="model.tokenizer",
            remedy=f"name the tokenizer of the run in {origin.place}, as its config.json has it",
        )


def keep_origin(origin: Origin, loaded: Loaded, evidence: RunDirectory) -> None:
    """The record of the run that this one begins with, and of the tokens that end its model's answers.

    Raises UserError where the weights are not those that the run had trained.
    """
    model = evidence.manifest.model
    assert model is not None
    if origin.is_exact and model.base_weight_hash != origin.chain[0].trained_weight_hash:
        raise UserError(
            f"{origin.part} holds other weights than the run had trained: their hash is"
            f" {model.base_weight_hash}, its manifest has {origin.chain[0].trained_weight_hash}",
            where=f"model.weights={origin.place}",
            remedy="take the run from where it was made",
        )
    says = origin.model_copy(update={"end_ids": loaded.end_ids})
    evidence.write(kinds_origin.KIND, says.model_dump(mode="json"))


def _link(run: VerifiedRun, trained: str) -> Link:
    return Link(
        run_id=run.manifest.run_id,
        name=run.manifest.name,
        manifest_sha256=layout.file_digest(run.root / layout.MANIFEST),
        trained_weight_hash=trained,
    )


def _is_same_type(config: RunConfig, run: VerifiedRun) -> bool:
    """Whether this run holds the numbers as that one did, so that their hashes are the same."""
    held = base_dtype(config.model, config.adapter, config.device.param_dtype)
    return config.model.quantize is None and held == run.setting("device.param_dtype")
