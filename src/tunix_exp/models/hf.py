"""Weights out of a Hugging Face folder, through a table of names, one tensor at a time.

A folder is read only if it fits the model exactly: dimensions key by key, every tensor used, every
parameter filled. All that does not fit is named at once.
"""

import hashlib
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

from tunix_exp.errors import UserError
from tunix_exp.models.config import ModelConfig
from tunix_exp.models.families.registry import weight_maps
from tunix_exp.models.hf_config import CONFIG, GENERATION, check_kind, check_model, end_ids
from tunix_exp.models.hf_kind import QUANTIZED_REMEDY
from tunix_exp.models.hosts import each_by_one, is_of_several, put
from tunix_exp.models.paths import is_stacked, layer_paths, path_of
from tunix_exp.models.quantize import Codes, no_codes
from tunix_exp.models.safetensors_file import Stored
from tunix_exp.models.stored import FLOATS, INDEX, check_folder, left_out, tensors, weight_files
from tunix_exp.models.weight_map import WeightMap, by_path, each_layer
from tunix_exp.received import file_in, named, unreadable

_OTHERS = "name weights in model.weights that are whole and of this family"
_PIECE = 2**18
# How tensors end that bitsandbytes, GPTQ, AWQ, compressed-tensors and MXFP4 store in the place of a kernel.
_PACKED = (
    ".absmax", ".quant_map", ".SCB", ".qweight", ".qzeros", ".scales", ".g_idx", ".weight_packed",
    ".weight_scale", ".weight_shape", "_blocks", "_scales",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Contents:
    """Parameters, the sha256 of every file read, the dtypes stored in, and the tokens that end an answer.

    `left_out` counts the stored tensors that are of no text model, by the part that they are of.
    """

    params: nnx.State
    files: dict[str, str]
    stored_dtypes: tuple[str, ...]
    end_ids: tuple[int, ...]
    left_out: dict[str, int]


def read(folder: Path, config: ModelConfig, params: nnx.State, *, codes: Codes = no_codes) -> Contents:
    """`params`, a state of `jax.ShapeDtypeStruct`s, filled from `folder`; and what was read.

    Every value gets its struct's dtype and sharding, or is quantized where `codes` does so. At any time one
    tensor is held on the host; of several processes each reads its part of them, and of the files that are
    hashed as well.
    Raises UserError with every misfit of config.json, or else of the tensors.
    """
    check_folder(folder)
    check_kind(folder, config)
    files = weight_files(folder)
    check_model(folder, config)
    weight_map = weight_maps()[config.family]
    found = tensors(files, weight_map)
    filled, stored = filled_from(found, folder, weight_map, params, config.num_layers, codes=codes)
    others = left_out(files, weight_map)
    files += [file for name in (CONFIG, GENERATION, INDEX) if (file := file_in(folder, name)) is not None]
    return Contents(
        params=filled,
        files=each_by_one({file.name: file for file in sorted(files)}, sha256),
        stored_dtypes=stored,
        end_ids=end_ids(folder, config.vocab_size),
        left_out=others,
    )


def check(folder: Path, config: ModelConfig, params: nnx.State) -> None:
    """`read` will take `folder`, as configs and headers tell; values are read of tied tables alone.

    Raises UserError as `read` does.
    """
    check_folder(folder)
    check_kind(folder, config)
    files = weight_files(folder)
    check_model(folder, config)
    weight_map = weight_maps()[config.family]
    check_tensors(tensors(files, weight_map), folder, weight_map, params, config.num_layers)


def filled_from(
    found: dict[str, Stored],
    folder: Path,
    weight_map: WeightMap,
    params: nnx.State,
    num_layers: int,
    *,
    remedy: str = _OTHERS,
    codes: Codes = no_codes,
) -> tuple[nnx.State, tuple[str, ...]]:
    """`params`, a state of `jax.ShapeDtypeStruct`s, filled from `found`, and the dtypes stored in.

    `found` are tensors of `folder` by their names without the prefix.
    Raises UserError with every misfit of the tensors and the `remedy`, before any value is kept.
    """
    check_tensors(found, folder, weight_map, params, num_layers, remedy=remedy)
    sources = _sources(weight_map, params, num_layers)
    kinds = {found[part.name].dtype for parts in sources.values() for part in parts}
    return _fill(found, sources, params, codes), tuple(sorted(kinds))


def check_tensors(
    found: dict[str, Stored],
    folder: Path,
    weight_map: WeightMap,
    params: nnx.State,
    num_layers: int,
    *,
    remedy: str = _OTHERS,
) -> None:
    """The headers of the tensors fit `params`; else UserError as of `filled_from`."""
    sources = _sources(weight_map, params, num_layers)
    packed = sorted(name for name in found if name.endswith(_PACKED))
    if packed:
        raise UserError(
            f"the weights are quantized, as {named(packed[0])} says ({len(packed)} tensors of that kind)",
            where=str(folder),
            remedy=QUANTIZED_REMEDY,
        )
    used = {part.name for parts in sources.values() for part in parts}
    faults = _faults(found, sources, used, weight_map, num_layers) + _untied(found, used, weight_map)
    if faults:
        raise UserError(
            "\n".join(["the stored tensors do not fit the model:", *(f"  {fault}" for fault in faults)]),
            where=str(folder),
            remedy=remedy,
        )


@dataclass(frozen=True, slots=True)
class _Source:
    """A tensor's part in a parameter: the whole of it, or one layer of a stacked one."""

    name: str
    shape: tuple[int, ...]
    transform: Callable[[Any], Any]


def _sources(weight_map: WeightMap, params: nnx.State, num_layers: int) -> dict[str, list[_Source]]:
    """For every parameter's path the tensors that fill it: one, or one for each of its layers."""
    rows = by_path(weight_map.rows, num_layers)

    def source(path: str, shape: tuple[int, ...]) -> _Source:
        return _Source(rows[path].name, shape, rows[path].transform)

    sources = {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(params):
        path = path_of(keys)
        if is_stacked(path):
            sources[path] = [source(name, leaf.shape[1:]) for name in layer_paths(path, leaf.shape[0])]
        else:
            sources[path] = [source(path, leaf.shape)]
    return sources


def _faults(
    found: dict[str, Stored],
    sources: dict[str, list[_Source]],
    used: set[str],
    weight_map: WeightMap,
    num_layers: int,
) -> list[str]:
    """What does not fit between the stored tensors and the parameters, as headers tell it."""
    faults = []
    for path, parts in sources.items():
        for part in parts:
            if part.name not in found:
                faults.append(f"{part.name} is missing, so {path} stays unfilled")
                continue
            tensor = found[part.name]
            shape = _transformed(part, tensor.shape)
            if shape != part.shape:
                as_ours = "" if shape == tensor.shape else f" (as {list(shape)})"
                faults.append(
                    f"{part.name} has shape {list(tensor.shape)}{as_ours}, {path} needs {list(part.shape)}"
                )
            if tensor.dtype not in FLOATS:
                faults.append(
                    f"{part.name} is stored as {tensor.dtype}, {path} needs one of {', '.join(FLOATS)}"
                )
    without_effect = {name for row in weight_map.not_parameters for name in each_layer(row, num_layers)}
    for name in sorted(found.keys() - used - without_effect - {weight_map.tied[0]}):
        faults.append(f"{named(found[name].name)} is not used by the model")
    return faults


def _transformed(part: _Source, shape: tuple[int, ...]) -> tuple[int, ...]:
    return jax.eval_shape(part.transform, jax.ShapeDtypeStruct(shape, np.float32)).shape


def _untied(found: dict[str, Stored], used: set[str], weight_map: WeightMap) -> list[str]:
    """Whether an output table is stored that the model has not, and is not its embedding."""
    output, embedding = weight_map.tied
    if output in used or not {output, embedding} <= found.keys() or found[output].equals(found[embedding]):
        return []
    return [f"{output} differs from {embedding}, to which the model ties it"]


def _fill(
    found: dict[str, Stored], sources: dict[str, list[_Source]], params: nnx.State, codes: Codes
) -> nnx.State:
    """Every parameter from its tensors, one of them on the host at a time, the largest ones first."""
    leaves, treedef = jax.tree_util.tree_flatten_with_path(params)
    filled: list[jax.Array | None] = [None] * len(leaves)
    by_size = sorted(range(len(leaves)), key=lambda i: -math.prod(sources[path_of(leaves[i][0])][0].shape))
    for index in by_size:
        keys, struct = leaves[index]
        path = path_of(keys)
        values = (_values(found[part.name], part, struct.dtype) for part in sources[path])
        filled[index] = codes(path, values)
        if filled[index] is None and is_of_several(struct.sharding):
            filled[index] = _own_part([found[part.name] for part in sources[path]], sources[path], struct)
        if filled[index] is None:
            filled[index] = _stacked(values, struct) if is_stacked(path) else _placed(next(values), struct)
    return jax.tree.unflatten(treedef, filled)


def _values(stored: Stored, part: _Source, dtype: np.dtype) -> np.ndarray:
    """The stored tensor as the parameter wants it; with NaN or infinity in it a model says nothing."""
    return _finite(part.transform(stored.values()).astype(dtype, copy=False), stored)


def _finite(values: np.ndarray, stored: Stored) -> np.ndarray:
    if not is_finite(values):
        raise UserError(
            f"{stored.name} holds NaN or infinity, or numbers too large for {values.dtype.name}",
            where=str(stored.file),
            remedy="the weights are damaged, or of a training that diverged: name others",
        )
    return values


def _own_part(stored: list[Stored], parts: list[_Source], struct: jax.ShapeDtypeStruct) -> jax.Array:
    """The parameter of which this process has a part: that alone is read, the layers' one after another."""
    whole = [part.transform(one.mapped()) for part, one in zip(parts, stored, strict=True)]

    def piece(layer: int, index: tuple[slice, ...]) -> np.ndarray:
        return _finite(whole[layer][index].astype(struct.dtype), stored[layer])

    def read(index: Any) -> np.ndarray:
        if len(struct.shape) == len(parts[0].shape):
            return piece(0, index)
        return np.stack([piece(layer, index[1:]) for layer in range(len(whole))[index[0]]])

    return jax.make_array_from_callback(struct.shape, struct.sharding, read).copy()


def is_finite(values: np.ndarray) -> bool:
    """Whether no number is NaN or infinite, by its exponent; looked at in pieces that a cache holds."""
    flat = values.ravel("K")
    word = np.dtype(f"u{flat.dtype.itemsize}").type
    exponent = np.array([np.inf], flat.dtype).view(word)[0]
    bits = flat.view(word)
    pieces = (bits[first : first + _PIECE] for first in range(0, bits.size, _PIECE))
    return not any(((piece & exponent) == exponent).any() for piece in pieces)


def _placed(value: np.ndarray, struct: jax.ShapeDtypeStruct) -> jax.Array:
    # On a CPU the device takes over the host's buffer as it is (`may_alias=False` notwithstanding), and
    # a buffer that is not its own cannot be donated to the training step: hence the copy.
    return put(value, struct.sharding).copy()


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
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(file, error) from error
