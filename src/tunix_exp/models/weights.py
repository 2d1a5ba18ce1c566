"""A model with its weights, from wherever the config says, and what can be said of them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
from flax import nnx
from jax.typing import DTypeLike

from tunix_exp import references
from tunix_exp.errors import UserError
from tunix_exp.host_memory import small_pages
from tunix_exp.hub import snapshot
from tunix_exp.models import from_run, hf, lora, peft
from tunix_exp.models.adapter import AdapterConfig, LoRAConfig, NoAdapterConfig, base_dtype
from tunix_exp.models.architecture import abstract, build
from tunix_exp.models.config import ModelConfig
from tunix_exp.models.families.registry import weight_maps
from tunix_exp.models.hf_config import check_kind, check_model
from tunix_exp.models.layers.decoder import Decoder
from tunix_exp.models.quantize import Quantizer
from tunix_exp.models.run_folder import is_run, part_of
from tunix_exp.models.sharding import shardings
from tunix_exp.models.stored import check_folder, stored_dtypes


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model with its adapter, the Hub's commit and the folder (None where there is none), and what that
    says: for random weights no files, no stored dtypes, no tokens that end an answer, nothing left out; the
    adapter's files.
    """

    model: Decoder
    revision: str | None
    folder: Path | None
    files: dict[str, str]
    stored_dtypes: tuple[str, ...]
    end_ids: tuple[int, ...]
    left_out: dict[str, int]
    adapter_files: dict[str, str]


def load(
    config: ModelConfig,
    adapter: AdapterConfig,
    *,
    param_dtype: str,
    compute_dtype: DTypeLike,
    seed: int,
    mesh: jax.sharding.Mesh | None = None,
) -> Loaded:
    """The model of `config` with the weights that `config.weights` names and with its adapter, split over the
    mesh; `seed` draws random ones. Weights that are frozen keep the dtype they are stored in.

    Raises UserError when they cannot be had or do not fit; never takes others instead.
    """
    dtype = base_dtype(config, adapter, param_dtype)
    with small_pages():
        loaded = _load(config, adapter, dtype, compute_dtype, seed, mesh)
        lora.attach(loaded.model, adapter, family=config.family, seed=seed, mesh=mesh)
        jax.block_until_ready(nnx.state(loaded.model))
    if isinstance(adapter, NoAdapterConfig) or adapter.weights == "random":
        return loaded
    folder = Path(adapter.weights).expanduser()
    files = peft.read(loaded.model, folder, adapter, family=config.family, num_layers=config.num_layers)
    return replace(loaded, adapter_files=files)


def begin(
    config: ModelConfig,
    adapter: AdapterConfig,
    *,
    param_dtype: str,
    compute_dtype: DTypeLike,
    seed: int,
    mesh: jax.sharding.Mesh,
    beside: bool,
) -> Callable[[], Loaded]:
    """What waits for `load`, and gives or raises what it does; `beside` begins it now, in its own thread.

    Weights that the Hub has to send first are loaded when they are waited for, with the screen to themselves.
    """
    whole = partial(
        load, config, adapter, param_dtype=param_dtype, compute_dtype=compute_dtype, seed=seed, mesh=mesh
    )
    reference = references.parse(config.weights, key="model.weights")
    if not beside or (isinstance(reference, references.Hub) and not snapshot.is_cached(reference)):
        return whole
    pool = ThreadPoolExecutor(1, thread_name_prefix="weights")
    loading = pool.submit(whole)
    pool.shutdown(wait=False)
    return loading.result


def _load(
    config: ModelConfig,
    adapter: AdapterConfig,
    param_dtype: str,
    compute_dtype: DTypeLike,
    seed: int,
    mesh: jax.sharding.Mesh | None,
) -> Loaded:
    match references.parse(config.weights, key="model.weights"):
        case references.Random():
            shapes = abstract(config, param_dtype=param_dtype, compute_dtype=compute_dtype)
            quantizer = Quantizer(shapes, config, mesh)
            model = build(
                config,
                param_dtype=param_dtype,
                compute_dtype=compute_dtype,
                seed=seed,
                mesh=mesh,
                codes=quantizer.codes,
            )
            quantizer.finish(model)
            return Loaded(
                model, None, None, files={}, stored_dtypes=(), end_ids=(), left_out={}, adapter_files={}
            )
        case references.Hub() as reference:
            revision, folder = snapshot.resolve(reference)
        case references.Local(folder):
            revision = None
        case references.Bundled(name):
            raise _no_bundled(name)
        case references.HeldOutRows():
            raise references.no_place_of("model.weights")
    check_folder(folder)
    _check_stored_dtype(config, adapter, folder)
    model = abstract(config, param_dtype=param_dtype, compute_dtype=compute_dtype)
    quantizer = Quantizer(model, config, mesh)
    graphdef, shapes = nnx.split(model)
    if mesh is not None:
        shapes = jax.tree.map(
            lambda shape, where: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=where),
            shapes,
            shardings(shapes, mesh),
        )
    source = from_run if is_run(folder) else hf
    contents = source.read(folder, config, shapes, codes=quantizer.codes)
    model = nnx.merge(graphdef, contents.params)
    quantizer.finish(model)
    return Loaded(
        model,
        revision,
        _model_files(folder),
        files=contents.files,
        stored_dtypes=contents.stored_dtypes,
        end_ids=contents.end_ids,
        left_out=contents.left_out,
        adapter_files={},
    )


def check_access(config: ModelConfig, adapter: AdapterConfig, *, asks_the_hub: bool = True) -> None:
    """The weights of `config` and of its adapter can be had, and fit: `load` will not refuse them.

    Asked before anything has cost time: of a folder or of what the cache holds configs and headers are read.
    Of what the Hub has to send first its config alone is fetched, once it is known that it would send it;
    a preflight, which needs no weights, does without.
    """
    match references.parse(config.weights, key="model.weights"):
        case references.Hub() as reference if snapshot.is_cached(reference):
            _check_folder(config, adapter, snapshot.resolve(reference).folder)
        case references.Hub() as reference if asks_the_hub:
            snapshot.check_access(reference)
            folder = snapshot.fetch_config(reference)
            check_kind(folder, config)
            check_model(folder, config)
        case references.Local(folder):
            _check_folder(config, adapter, folder)
        case references.Bundled(name):
            raise _no_bundled(name)
        case _:
            pass
    if isinstance(adapter, LoRAConfig) and adapter.weights != "random":
        model = lora.attached_shapes(_shapes(config), adapter, family=config.family)
        folder = Path(adapter.weights).expanduser()
        peft.check(model, folder, adapter, family=config.family, num_layers=config.num_layers)


def _check_folder(config: ModelConfig, adapter: AdapterConfig, folder: Path) -> None:
    source = from_run if is_run(folder) else hf
    source.check(folder, config, nnx.state(_shapes(config)))
    _check_stored_dtype(config, adapter, folder)


def _model_files(folder: Path) -> Path | None:
    """The folder as transformers has it: of a run what it exported, or None where it left a checkpoint."""
    if not is_run(folder):
        return folder
    part = part_of(folder)
    return None if part.is_checkpoint else part.folder


def _shapes(config: ModelConfig) -> Decoder:
    """The model as shapes, its layers stacked, as that takes the same time however many there are."""
    stacked = config.model_copy(update={"layer_loop": "scan"})
    return abstract(stacked, param_dtype="float32", compute_dtype="float32")


def _no_bundled(name: str) -> UserError:
    return UserError(
        f"no weights are bundled, so bundled:{name} names none",
        where="model.weights",
        remedy="set random, hub:ORG/NAME@REVISION or a folder",
    )


def _check_stored_dtype(config: ModelConfig, adapter: AdapterConfig, folder: Path) -> None:
    """Weights to be frozen are stored as `config` says, because by that the memory was planned."""
    if isinstance(adapter, NoAdapterConfig):
        return
    files = _model_files(folder)
    stored = (
        from_run.stored_dtypes(part_of(folder))
        if files is None
        else stored_dtypes(files, weight_maps()[config.family], config.num_layers)
    )
    if any(kind != config.stored_dtype for kind in stored):
        raise UserError(
            f"the weights are stored in {' and '.join(stored)}, model.stored_dtype is {config.stored_dtype},"
            f" and adapter={adapter.name} keeps them as they are stored",
            where=str(folder),
            remedy=f"type model.stored_dtype={stored[0]}"
            if len(stored) == 1 and stored[0] != "float64"
            else "store them all in float32, bfloat16 or float16, or train without an adapter (adapter=none)",
        )
