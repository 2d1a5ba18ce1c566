"""A model with its weights, from wherever the config says, and what can be said of them."""

from dataclasses import dataclass

import jax
from flax import nnx
from jax.typing import DTypeLike

from tunix_exp import references
from tunix_exp.errors import UserError
from tunix_exp.hub import snapshot
from tunix_exp.models import hf
from tunix_exp.models.architecture import Model, abstract, build
from tunix_exp.models.config import ModelConfig
from tunix_exp.models.sharding import shardings


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model, the Hub's commit (None where there is none), and what its folder says; for random weights
    no files, no stored dtypes, no tokens that end an answer.
    """

    model: Model
    revision: str | None
    files: dict[str, str]
    stored_dtypes: tuple[str, ...]
    end_ids: tuple[int, ...]


def load(
    config: ModelConfig,
    *,
    param_dtype: DTypeLike,
    compute_dtype: DTypeLike,
    seed: int,
    mesh: jax.sharding.Mesh | None = None,
) -> Loaded:
    """The model of `config` with the weights that `config.weights` names, split over the mesh; `seed` draws
    random ones.

    Raises UserError when they cannot be had or do not fit; never takes others instead.
    """
    match references.parse(config.weights, key="model.weights"):
        case references.Random():
            model = build(config, param_dtype=param_dtype, compute_dtype=compute_dtype, seed=seed, mesh=mesh)
            return Loaded(model, revision=None, files={}, stored_dtypes=(), end_ids=())
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
    if mesh is not None:
        shapes = jax.tree.map(
            lambda shape, where: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=where),
            shapes,
            shardings(shapes, mesh),
        )
    contents = hf.read(folder, config, shapes)
    return Loaded(
        nnx.merge(graphdef, contents.params),
        revision,
        files=contents.files,
        stored_dtypes=contents.stored_dtypes,
        end_ids=contents.end_ids,
    )


def check_access(config: ModelConfig) -> None:
    """The Hub has the weights of `config` and gives them to this account, if they are to come from there.

    Asked before anything has cost time; nothing is fetched, and what the cache holds is not asked for.
    """
    reference = references.parse(config.weights, key="model.weights")
    if isinstance(reference, references.Hub):
        snapshot.check_access(reference)
