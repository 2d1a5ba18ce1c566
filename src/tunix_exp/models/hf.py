"""Weights out of a Hugging Face folder, through a table of names, one tensor at a time.

A folder is read only if it fits the model exactly: dimensions key by key, every tensor used, every
parameter filled. All that does not fit is told at once.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import safe_open

from tunix_exp.errors import UserError
from tunix_exp.models.config import ModelConfig
from tunix_exp.models.digest import is_stacked, layer_path, path_of
from tunix_exp.models.names import MAPS
from tunix_exp.models.weight_map import WeightMap, by_path, each_layer
from tunix_exp.schema import Config

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
CONFIG, GENERATION = "config.json", "generation_config.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
FLOATS = {"F16": np.float16, "BF16": jnp.bfloat16, "F32": np.float32, "F64": np.float64}


@dataclass(frozen=True, slots=True)
class Contents:
    """Parameters, the sha256 of every file read, the dtypes stored in, and the tokens that end an answer."""

    params: nnx.State
    files: dict[str, str]
    stored_dtypes: tuple[str, ...]
    end_ids: tuple[int, ...]


def read(folder: Path, config: ModelConfig, params: nnx.State) -> Contents:
    """`params`, a state of `jax.ShapeDtypeStruct`s, filled from `folder`; and what was read.

    Every value gets its struct's dtype and sharding. At any time one tensor is held on the host.
    Raises UserError with every misfit of config.json, or else of the tensors.
    """
    files = _fitting_files(folder, config)
    weight_map = MAPS[config.family]
    filled, stored = filled_from(files, weight_map, params, config.num_layers)
    files += [file for name in (CONFIG, GENERATION, INDEX) if (file := folder / name).exists()]
    return Contents(
        params=filled,
        files={file.name: sha256(file) for file in sorted(files)},
        stored_dtypes=stored,
        end_ids=end_ids(folder),
    )


def check(folder: Path, config: ModelConfig, params: nnx.State) -> None:
    """`read` would fill `params` from `folder`: asked of config.json and of the files' headers alone.

    Raises UserError as `read` does. Values are read only where two tensors must be equal.
    """
    files = _fitting_files(folder, config)
    checked(files, MAPS[config.family], params, config.num_layers)
    end_ids(folder)


def checked(
    files: list[Path],
    weight_map: WeightMap,
    params: nnx.State,
    num_layers: int,
    *,
    remedy: str = "name weights in model.weights that are whole and of this family",
) -> tuple[dict[str, "_Tensor"], dict[str, list["_Source"]]]:
    """The stored tensors, and for every parameter's path those that fill it.

    Raises UserError with every misfit of the tensors and the `remedy`, before any value is read.
    """
    tensors = _listed(files, weight_map.prefix)
    sources = _sources(weight_map, params, num_layers)
    _check_tensors(tensors, sources, weight_map, files[0].parent, num_layers, remedy)
    return tensors, sources


def filled_from(
    files: list[Path],
    weight_map: WeightMap,
    params: nnx.State,
    num_layers: int,
    **named: str,
) -> tuple[nnx.State, tuple[str, ...]]:
    """`params`, a state of `jax.ShapeDtypeStruct`s, filled from `files`, and the dtypes stored in.

    Raises UserError as `checked` does.
    """
    tensors, sources = checked(files, weight_map, params, num_layers, **named)
    stored = {tensors[part.name].dtype for parts in sources.values() for part in parts}
    return _fill(tensors, sources, params), tuple(sorted(stored))


def stored_dtypes(folder: Path, config: ModelConfig) -> tuple[str, ...]:
    """The dtypes that the parameters in `folder` are stored in, by our names; read from headers alone."""
    weight_map = MAPS[config.family]
    tensors = _listed(_weight_files(folder), weight_map.prefix)
    names = [name for row in weight_map.rows for name in each_layer(row.name, config.num_layers)]
    kinds = {tensors[name].dtype for name in names if name in tensors}
    return tuple(sorted(jnp.dtype(FLOATS[kind]).name for kind in kinds & FLOATS.keys()))


def end_ids(folder: Path) -> tuple[int, ...]:
    """The tokens that `eos_token_id` names, one or several, in generation_config.json, else config.json."""
    for name in (GENERATION, CONFIG):
        if (folder / name).exists():
            said = json.loads((folder / name).read_text(encoding="utf-8")).get("eos_token_id")
            if said is not None:
                return tuple(said) if isinstance(said, list) else (said,)
    return ()


def check_config(
    folder: Path,
    config: Config,
    weight_map: WeightMap,
    *,
    name: str = CONFIG,
    group: str = "model",
    tag: str = "family",
) -> None:
    """The folder's config.json has the config's dimensions; else UserError with every difference.

    `name`, `group` and `tag` are the file's name, the config's group, and the key that tells its kind.
    """
    file, computes = folder / name, f"{group}.{tag}={getattr(config, tag)} computes"
    if not file.exists():
        raise UserError(
            f"no {name} in {folder}", where=f"{group}.weights", remedy="name a complete Hugging Face folder"
        )
    found = weight_map.normalise(json.loads(file.read_text(encoding="utf-8")))
    faults, overrides = [], []
    for key, ours in weight_map.dimensions:
        expected = getattr(config, ours)
        if key not in found:
            faults.append(f"{key} is missing, {group}.{ours} is {expected}")
        elif found[key] != expected:
            faults.append(f"{key} is {found[key]}, {group}.{ours} is {expected}")
            overrides.append(f"{group}.{ours}={json.dumps(found[key])}")
    for key, only in weight_map.fixed.items():
        if key not in found and key not in weight_map.optional:
            faults.append(f"{key} is missing, {computes} {only!r} alone")
        elif key in found and found[key] != only:
            faults.append(f"{key} is {found[key]!r}, {computes} {only!r} alone")
    if faults:
        raise UserError(
            "\n".join([f"the weights are of another {group} than the config:", *(f"  {f}" for f in faults)]),
            where=str(file),
            remedy=f"type {' '.join(overrides)}, or name other weights in {group}.weights"
            if overrides
            else f"name other weights in {group}.weights",
        )


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A stored tensor: its file, its name there, and what can be said of it without reading it."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str

    def values(self) -> np.ndarray:
        """All of it, on the host; the file is mapped for this one alone, else what was read would stay."""
        with safe_open(self.file, framework="numpy") as file:
            return file.get_tensor(self.name)


@dataclass(frozen=True, slots=True)
class _Source:
    """A tensor's part in a parameter: the whole of it, or one layer of a stacked one."""

    name: str
    shape: tuple[int, ...]
    transform: Callable[[Any], Any]


def _fitting_files(folder: Path, config: ModelConfig) -> list[Path]:
    """The files with the weights of `folder`, whose config.json is that of `config`."""
    if not _is_folder(folder):
        raise UserError(
            f"no folder {folder}", where="model.weights", remedy="name an existing folder, or hub:… or random"
        )
    files = _weight_files(folder)
    check_config(folder, config, MAPS[config.family])
    return files


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long for the system names nothing
        return False


def _weight_files(folder: Path) -> list[Path]:
    if (folder / INDEX).exists():
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        files = [folder / name for name in sorted(set(index["weight_map"].values()))]
        absent = [file.name for file in files if not file.exists()]
        if absent:
            raise UserError(
                f"{INDEX} names files that are not there: {', '.join(absent)}",
                where=str(folder),
                remedy="fetch the folder again, whole",
            )
        return files
    if (folder / SINGLE).exists():
        return [folder / SINGLE]
    pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    if pickles:
        raise UserError(
            f"the weights are pickled ({', '.join(pickles)}), and a pickle can run any code when it is read",
            where=str(folder),
            remedy="convert them where you trust them (transformers: save_pretrained writes safetensors),"
            " or set model.weights=random",
        )
    raise UserError(
        f"neither {SINGLE} nor {INDEX} in the folder",
        where=str(folder),
        remedy="name a folder with safetensors in model.weights, or set model.weights=random",
    )


def _listed(files: list[Path], prefix: str) -> dict[str, _Tensor]:
    """Every stored tensor under its name without the prefix."""
    tensors: dict[str, _Tensor] = {}
    twice = []
    for path in files:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 (a safetensors file is no dict)
                short, view = name.removeprefix(prefix), file.get_slice(name)
                if short in tensors:
                    twice.append(name)
                tensors[short] = _Tensor(path, name, tuple(view.get_shape()), view.get_dtype())
    if twice:
        raise UserError(
            f"tensors are stored twice: {', '.join(sorted(twice))}",
            where=str(files[0].parent),
            remedy="name other weights in model.weights",
        )
    return tensors


def _sources(weight_map: WeightMap, params: nnx.State, num_layers: int) -> dict[str, list[_Source]]:
    """For every parameter's path the tensors that fill it: one, or one for every layer."""
    rows = by_path(weight_map.rows, num_layers)

    def source(path: str, shape: tuple[int, ...]) -> _Source:
        return _Source(rows[path].name, shape, rows[path].transform)

    sources = {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(params):
        path = path_of(keys)
        if is_stacked(path):
            sources[path] = [source(layer_path(path, layer), leaf.shape[1:]) for layer in range(num_layers)]
        else:
            sources[path] = [source(path, leaf.shape)]
    return sources


def _check_tensors(
    tensors: dict[str, _Tensor],
    sources: dict[str, list[_Source]],
    weight_map: WeightMap,
    folder: Path,
    num_layers: int,
    remedy: str,
) -> None:
    faults = []
    for path, parts in sources.items():
        for part in parts:
            if part.name not in tensors:
                faults.append(f"{part.name} is missing, so {path} stays unfilled")
                continue
            tensor = tensors[part.name]
            shape = jax.eval_shape(part.transform, jax.ShapeDtypeStruct(tensor.shape, np.float32)).shape
            if shape != part.shape:
                as_ours = "" if shape == tensor.shape else f" (as {list(shape)})"
                faults.append(
                    f"{part.name} has shape {list(tensor.shape)}{as_ours}, {path} needs {list(part.shape)}"
                )
            if tensor.dtype not in FLOATS:
                faults.append(
                    f"{part.name} is stored as {tensor.dtype}, {path} needs one of {', '.join(FLOATS)}"
                )
    used = {part.name for parts in sources.values() for part in parts}
    without_effect = {name for row in weight_map.not_parameters for name in each_layer(row, num_layers)}
    output, embedding = weight_map.tied
    for name in sorted(set(tensors) - used - without_effect):
        if name != output:
            faults.append(f"{tensors[name].name} is not used by the model")
        elif embedding in tensors and not np.array_equal(tensors[name].values(), tensors[embedding].values()):
            faults.append(f"{output} differs from {embedding}, to which the model ties it")
    if faults:
        raise UserError(
            "\n".join(["the stored tensors do not fit the model:", *(f"  {fault}" for fault in faults)]),
            where=str(folder),
            remedy=remedy,
        )


def _fill(tensors: dict[str, _Tensor], sources: dict[str, list[_Source]], params: nnx.State) -> nnx.State:
    """Every parameter from its tensors, one of them on the host at a time, the largest ones first."""
    leaves, treedef = jax.tree_util.tree_flatten_with_path(params)
    filled: list[jax.Array | None] = [None] * len(leaves)
    by_size = sorted(range(len(leaves)), key=lambda i: -math.prod(sources[path_of(leaves[i][0])][0].shape))
    for index in by_size:
        keys, struct = leaves[index]
        path = path_of(keys)
        values = (
            part.transform(tensors[part.name].values()).astype(struct.dtype, copy=False)
            for part in sources[path]
        )
        filled[index] = _stacked(values, struct) if is_stacked(path) else _placed(next(values), struct)
    return jax.tree.unflatten(treedef, filled)


def _placed(value: np.ndarray, struct: jax.ShapeDtypeStruct) -> jax.Array:
    # On a CPU the device takes over the host's buffer as it is (`may_alias=False` notwithstanding), and
    # a buffer that is not its own cannot be donated to the training step: hence the copy.
    return jax.device_put(value, struct.sharding).copy()


def _stacked(values: Iterator[np.ndarray], struct: jax.ShapeDtypeStruct) -> jax.Array:
    """The layers one after another in a buffer that is on the devices from the beginning."""
    empty, with_layer = _stacking(struct.shape, struct.dtype, struct.sharding)
    whole = empty()
    for layer, value in enumerate(values):
        whole = with_layer(whole, value, layer)
    return whole


@cache
def _stacking(shape: tuple[int, ...], dtype: np.dtype, sharding: Any) -> tuple[Any, Any]:
    empty = jax.jit(lambda: jnp.zeros(shape, dtype), out_shardings=sharding)
    with_layer = jax.jit(
        lambda whole, value, layer: jax.lax.dynamic_update_index_in_dim(whole, value, layer, 0),
        donate_argnums=0,
        out_shardings=sharding,
    )
    return empty, with_layer


def sha256(file: Path) -> str:
    """The hash of the file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
