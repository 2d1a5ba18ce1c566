"""The weights that an earlier run trained: its newest checkpoint, or the model that it exported.

A run of an adapter gives the model that it exported, into which the adapter is merged. Whoever calls has
verified the run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tunix_exp.errors import UserError
from tunix_exp.models import hf
from tunix_exp.models.config import ModelConfig
from tunix_exp.models.hf import Contents
from tunix_exp.models.hosts import each_by_one, put
from tunix_exp.models.paths import is_stacked, layer_paths, path_of, place_of
from tunix_exp.models.quantize import Codes, no_codes
from tunix_exp.models.run_folder import MANIFEST, Part, check_model, part_of

_ITEM = "default"
_PREFIX = "params."


def read(folder: Path, config: ModelConfig, params: nnx.State, *, codes: Codes = no_codes) -> Contents:
    """`params`, a state of `jax.ShapeDtypeStruct`s, filled with what the run in `folder` trained.

    As `hf.read` does it; files are named from `folder` on.
    """
    check_model(folder, config)
    part = part_of(folder)
    if not part.is_checkpoint:
        contents = hf.read(part.folder, config, params, codes=codes)
        within = part.folder.relative_to(folder).as_posix()
        files = {f"{within}/{name}": digest for name, digest in contents.files.items()}
        return replace(contents, files={MANIFEST: hf.sha256(folder / MANIFEST), **files})
    saved = _Saved(part.folder, params)
    leaves, treedef = jax.tree_util.tree_flatten_with_path(params)
    filled = [saved.filled(path_of(keys), struct, codes) for keys, struct in leaves]
    files = [folder / MANIFEST, *sorted(file for file in part.folder.rglob("*") if file.is_file())]
    return Contents(
        params=jax.tree.unflatten(treedef, filled),
        files=each_by_one({file.relative_to(folder).as_posix(): file for file in files}, hf.sha256),
        stored_dtypes=saved.dtypes,
        end_ids=part.end_ids,
        left_out={},
    )


def check(folder: Path, config: ModelConfig, params: nnx.State) -> None:
    """`read` will take the run in `folder`, as its own lists tell.

    Raises UserError as `read` does.
    """
    check_model(folder, config)
    part = part_of(folder)
    if part.is_checkpoint:
        _Saved(part.folder, params)
    else:
        hf.check(part.folder, config, params)


def stored_dtypes(part: Part) -> tuple[str, ...]:
    """The types of the parameters in a checkpoint."""
    return tuple(sorted({str(dtype) for _, dtype in _listed(part.folder).values()}))


@dataclass(frozen=True, slots=True)
class _Leaf:
    """Where a layer's parameter lies in a checkpoint: the name, and the index in what is stacked there."""

    name: str
    index: int | None
    shape: tuple[int, ...]


class _Saved:
    """The parameters of a checkpoint, by the paths of single layers; whichever layer loop wrote them."""

    def __init__(self, folder: Path, params: nnx.State) -> None:
        """The checkpoint in `folder`, which holds `params`; else UserError with every misfit."""
        self._folder = folder
        listed = _listed(folder)
        self.dtypes = tuple(sorted({str(dtype) for _, dtype in listed.values()}))
        self._leaves = dict(_single(listed))
        due = {
            path: shape
            for keys, leaf in jax.tree_util.tree_leaves_with_path(params)
            for path, shape in _paths(path_of(keys), leaf.shape)
        }
        faults = [f"{path} is missing" for path in due if path not in self._leaves]
        faults += [f"{path} is not used by the model" for path in self._leaves if path not in due]
        faults += [
            f"{path} has shape {list(self._leaves[path].shape)}, the model needs {list(shape)}"
            for path, shape in due.items()
            if path in self._leaves and self._leaves[path].shape != shape
        ]
        if faults:
            raise UserError(
                "\n".join(["the checkpoint of the run does not fit the model:", *map("  {}".format, faults)]),
                where=str(folder),
                remedy="choose the model of that run; model=hf takes all of it from the run",
            )

    def filled(self, path: str, struct: jax.ShapeDtypeStruct, codes: Codes) -> Any:
        """The parameter at `path` in its type and place, or its codes."""
        layers = [self._leaves[one] for one, _ in _paths(path, struct.shape)]
        stored = _restored(self._folder, {leaf.name for leaf in layers})
        values = [
            np.asarray(stored[leaf.name] if leaf.index is None else stored[leaf.name][leaf.index])
            .astype(struct.dtype, copy=False)
            for leaf in layers
        ]  # fmt: skip
        coded = codes(path, iter(values))
        if coded is not None:
            return coded
        whole = np.stack(values) if is_stacked(path) else values[0]
        return put(jnp.asarray(whole), struct.sharding).copy()


def _paths(path: str, shape: tuple[int, ...]) -> list[tuple[str, tuple[int, ...]]]:
    """The paths of the single layers behind `path`, and their shape."""
    if not is_stacked(path):
        return [(path, shape)]
    return [(name, shape[1:]) for name in layer_paths(path, shape[0])]


def _single(listed: Mapping[str, tuple[tuple[int, ...], Any]]) -> list[tuple[str, _Leaf]]:
    """Every single layer's parameter by its path."""
    found = []
    for name, (shape, _) in listed.items():
        path = name.removeprefix(_PREFIX).removesuffix(".value").replace(".", "/")
        stacked = is_stacked(path)
        assert not stacked or place_of(path) is not None
        for index, (single, within) in enumerate(_paths(path, shape)):
            found.append((single, _Leaf(name, index if stacked else None, within)))
    return found


def _listed(folder: Path) -> dict[str, tuple[tuple[int, ...], Any]]:
    """The checkpoint's parameters by name, with shape and type, by its own list."""
    import orbax.checkpoint as ocp  # only now: weights rarely come from a run

    try:
        # Orbax reads absolute paths alone. Of the handler: a checkpointer also looks for what lies beside
        # a part, and warns that it is not there.
        part: Any = folder.absolute() / _ITEM
        tree = ocp.PyTreeCheckpointHandler().metadata(part).tree
        return {
            name: (tuple(one.shape), jnp.dtype(one.dtype))
            for name, one in tree.items()
            if name.startswith(_PREFIX)
        }
    # Orbax lets errors of several libraries through; each means that it cannot be read.
    except Exception as error:
        raise _unreadable(folder, error) from error


def _restored(folder: Path, names: set[str]) -> dict[str, Any]:
    """The named arrays, on the host."""
    import orbax.checkpoint as ocp  # only now: weights rarely come from a run

    wanted = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in sorted(names)}
    item = dict.fromkeys(wanted, 0)
    try:
        return ocp.PyTreeCheckpointer().restore(
            folder.absolute() / _ITEM,
            args=ocp.args.PyTreeRestore(item=item, restore_args=wanted, partial_restore=True),
        )
    except Exception as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: Exception) -> UserError:
    return UserError(
        f"the checkpoint cannot be read: {type(error).__name__}: {error}",
        where=str(folder),
        remedy="name another run in model.weights, or the model that this one exported",
    )
