"""What a model's config leaves out, from the config.json of its weights; no JAX.

A config that names everything stays as it is. Of one that does not, `model=hf` above all, the folder's own
config.json gives the rest, before anything else looks at it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tunix_exp import references
from tunix_exp.errors import UserError
from tunix_exp.hub import snapshot
from tunix_exp.models.config import ModelConfig
from tunix_exp.models.families.registry import families, weight_maps
from tunix_exp.models.hf_config import CONFIG, check_model, end_ids, stored_dtype, told_model
from tunix_exp.models.run_folder import is_run, model_of, part_of
from tunix_exp.models.stored import check_folder, stored_dtypes
from tunix_exp.schema import written

# Null says of these that the folder has them; of what a family adds null is a value.
_NOT_NULL = ("family", "stored_dtype", "tokenizer")
_UNSAID = "float32"  # what transformers takes where config.json says no dtype


@dataclass(frozen=True, slots=True)
class FromFolder:
    """A whole `model` group, the keys of it that a config.json gave, and the tokens that end an answer."""

    source: str
    model: dict[str, Any]
    given: tuple[str, ...]
    end_ids: tuple[int, ...]

    def describe(self) -> str:
        """One line: the file, and what it gave, in words that could have been typed."""
        keys = ", ".join(f"{key}={written(self.model[key])}" for key in self.given)
        return f"model: from {self.source}: {keys}; end-of-sequence tokens: {list(self.end_ids) or 'none'}"


def from_folder(model: Mapping[str, Any]) -> FromFolder | None:
    """The plain `model` group with what it leaves out; None where it leaves out nothing that a folder has.

    What it says stays. Raises UserError where it contradicts the folder, where nothing names one, and where
    config.json is not understood or of no family that exists.
    """
    said = {key: value for key, value in model.items() if value is not None or key not in _NOT_NULL}
    family = said.get("family")
    if family is not None and (family not in tuple(weight_maps()) or not _left_out(said, family)):
        return None  # whole, or refused by its family
    weights = said.get("weights")
    if weights is None or not isinstance(weights, str):
        raise UserError(
            f"model.weights is {written(weights)}, and what else the model's config leaves out comes from the"
            " folder of its weights",
            where="model.weights",
            remedy="name a Hugging Face folder, or hub:ORG/NAME@REVISION",
        )
    folder, has_weights = _folder(weights)
    if folder is None:
        if family is not None:
            return None  # its missing keys are named with all other faults
        raise UserError(
            f"weights that are {weights} say nothing of the model, and its config names no family",
            where="model.weights",
            remedy="name a Hugging Face folder, or hub:ORG/NAME@REVISION, or choose another option of model",
        )
    place = weights
    if is_run(folder):
        part = part_of(folder)
        if part.is_checkpoint:
            return _of_checkpoint(folder, weights, said, part.end_ids)
        folder, place = part.folder, f"{weights}/{part.folder.relative_to(folder).as_posix()}"
    told, dimensions = told_model(folder, family)
    stored = stored_dtype(folder) or _UNSAID
    if has_weights:
        kinds = stored_dtypes(folder, weight_maps()[told], dimensions["num_layers"])
        stored = kinds[0] if len(kinds) == 1 and kinds[0] != "float64" else stored
    whole = {"family": told, "tokenizer": place, "stored_dtype": stored} | dimensions | said
    return _checked(folder, place, whole, said)


def _of_checkpoint(folder: Path, weights: str, said: Mapping[str, Any], ids: tuple[int, ...]) -> FromFolder:
    """The group of the run in `folder`, whose checkpoint is taken."""
    whole = model_of(folder) | dict(said)
    given = tuple(key for key in whole if key not in said)
    return FromFolder(f"{weights}/{CONFIG}", whole, given, ids)


def _left_out(said: Mapping[str, Any], family: str) -> list[str]:
    """The keys that are not said, of those that a folder has."""
    names = weight_maps()[family]
    dimensions = (ours for _, ours in names.dimensions)
    return [key for key in (*_NOT_NULL, *dimensions, *names.unsaid) if key not in said]


def _folder(weights: str) -> tuple[Path | None, bool]:
    """Where the config.json of the weights lies, and whether they lie there too; None: they have no folder.

    The Hub is asked for the configs alone.
    """
    match references.parse(weights, key="model.weights"):
        case references.Local(folder):
            check_folder(folder)
            return folder, True
        case references.Hub() as reference:
            is_here = snapshot.is_cached(reference)
            here = snapshot.resolve(reference).folder if is_here else snapshot.fetch_config(reference)
            return here, is_here
    return None, False


def _checked(folder: Path, weights: str, whole: dict[str, Any], said: Mapping[str, Any]) -> FromFolder:
    """The group in its config's order, numbers as its config has them, if the folder is of that model."""
    kind = next(one.config for one in families() if whole["family"] in one.weight_maps)
    given = tuple(key for key in kind.model_fields if key in whole and key not in said)
    ids: tuple[int, ...] = ()
    try:
        model: ModelConfig = kind.model_validate(whole)
    except ValidationError:
        pass  # told with all other faults of the config, by the keys
    else:
        check_model(folder, model)
        ids = end_ids(folder, model.vocab_size)
        whole |= {key: value for key, value in model.model_dump(mode="json").items() if key in given}
    ordered = {key: whole[key] for key in (*kind.model_fields, *whole) if key in whole}
    return FromFolder(f"{weights}/{CONFIG}", ordered, given, ids)
