"""A model with its weights, from wherever the config says, and what can be said of them."""

from dataclasses import dataclass

from flax import nnx
from jax.typing import DTypeLike

from tunix_exp import references
from tunix_exp.errors import UserError
from tunix_exp.hub import snapshot
from tunix_exp.models import hf
from tunix_exp.models.architecture import Model, abstract, build
from tunix_exp.models.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model, the Hub's commit (None where there is none), the sha256 of every file read, stored dtypes."""

    model: Model
    revision: str | None
    files: dict[str, str]
    stored_dtypes: tuple[str, ...]


def load(config: ModelConfig, *, param_dtype: DTypeLike, compute_dtype: DTypeLike, seed: int) -> Loaded:
    """The model of `config` with the weights that `config.weights` names; `seed` draws random ones.

    Raises UserError when they cannot be had or do not fit; never takes others instead.
    """
    match references.parse(config.weights, key="model.weights"):
        case references.Random():
            model = build(config, param_dtype=param_dtype, compute_dtype=compute_dtype, seed=seed)
            return Loaded(model, revision=None, files={}, stored_dtypes=())
        case references.Hub() as reference:
            revision, folder = snapshot.resolve(reference)
        case references.Local(folder):
            revision = None
        case references.Bundled(name):
            raise UserError(
                f"no weights are bundled, so bundled:{name} names none",
                where="model.weights",
                remedy="set random, hub:ORG/NAME@REVISION or a folder",
            )
    graphdef, shapes = nnx.split(abstract(config, param_dtype=param_dtype, compute_dtype=compute_dtype))
    contents = hf.read(folder, config, shapes)
    return Loaded(nnx.merge(graphdef, contents.params), revision, contents.files, contents.stored_dtypes)
