"""Checkpoints through Orbax: parameters, optimizer, step.

The step is also the data position and there is no other random state: weights are drawn from
(seed), batches from (seed, step), and the models have no dropout.
"""

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from tunix_exp.errors import UserError
from tunix_exp.training.step import TrainState

# What Orbax adds to the name of a checkpoint while it is written.
_UNFINISHED = ".orbax-checkpoint-tmp"


class Checkpoints:
    """The checkpoints of one run; `save` returns with the bytes on their way, `wait` when they arrived."""

    def __init__(self, folder: Path, *, keep: int | None) -> None:
        """Open `folder` (made if absent) and keep the newest `keep`, or all."""
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        self._manager = ocp.CheckpointManager(folder.resolve(), options=options)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Wait for what is being written, then close; half a checkpoint is not left."""
        try:
            with self._writing():
                self._manager.close()
        finally:
            if kind is not None:
                # it may be what fills the disk, and the run has its end to record
                for half in Path(self._manager.directory).glob(f"*{_UNFINISHED}"):
                    shutil.rmtree(half, ignore_errors=True)

    def save(self, state: TrainState, *, step: int) -> None:
        """The state after `step` updates is being written; it may be donated at once."""
        with self._writing():
            self._manager.save(step, args=ocp.args.StandardSave(dict(_named(state))))

    def wait(self) -> None:
        """Every save has reached the disk."""
        with self._writing():
            self._manager.wait_until_finished()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Inside, a disk that is full raises UserError; Orbax tells it as resources that are exhausted."""
        try:
            yield
        except (ValueError, OSError) as error:
            full = re.search("No space left on device|Disk quota exceeded", str(error))
            if full is None:
                raise
            raise UserError(
                f"a checkpoint cannot be written: {full[0]}",
                where=str(self._manager.directory),
                remedy="free space, or keep fewer with training.keep_checkpoints; then finish the run",
            ) from error

    def newest(self) -> int | None:
        """The step of the newest complete checkpoint."""
        return self._manager.latest_step()

    def check(self, like: TrainState, *, step: int) -> None:
        """The checkpoint of `step` can be read, and holds what `like` holds: told by its own list, unread.

        Raises UserError with every part that it lacks or has in another shape or type.
        """
        reader = ocp.CheckpointManager(
            self._manager.directory,
            item_handlers=ocp.StandardCheckpointHandler(),
            options=ocp.CheckpointManagerOptions(create=False),
        )
        try:
            listed = reader.item_metadata(step)
            saved = {name: (part.shape, jnp.dtype(part.dtype)) for name, part in listed.tree.items()}
        # Orbax lets errors of several libraries through; each means that it cannot be read.
        except Exception as error:
            raise self._unreadable(step, error) from error
        finally:
            reader.close()
        faults = []
        for name, leaf in _named(like):
            ours = (leaf.shape, jnp.dtype(leaf.dtype))
            if name not in saved:
                faults.append(f"{name} is missing")
            elif saved[name] != ours:
                there, here = (f"{kind} {list(shape)}" for shape, kind in (saved[name], ours))
                faults.append(f"{name} is {there}, the config gives {here}")
        faults += [f"{name} has no place" for name in saved.keys() - {name for name, _ in _named(like)}]
        if faults:
            raise self._misfit(step, "\n" + "\n".join(f"  {fault}" for fault in faults))

    def restore(self, like: TrainState, *, step: int) -> TrainState:
        """The saved state, in the shapes, types and shardings of `like` (arrays or ShapeDtypeStructs)."""
        wanted = {name: _abstract(leaf) for name, leaf in _named(like)}
        try:
            saved: Mapping[str, Any] = self._manager.restore(step, args=ocp.args.StandardRestore(wanted))
        except (ValueError, KeyError) as error:
            raise self._misfit(step, str(error)) from error
        except OSError as error:
            raise self._unreadable(step, error) from error
        structure = jax.tree.structure(like)
        return jax.tree.unflatten(structure, [saved[name] for name, _ in _named(like)])

    def _misfit(self, step: int, why: str) -> UserError:
        return UserError(
            f"the checkpoint at step {step} does not hold this model and optimizer: {why}",
            where=str(self._manager.directory),
            remedy="resume with the config, and by the release, of the run that wrote it",
        )

    def _unreadable(self, step: int, error: Exception) -> UserError:
        return UserError(
            f"the checkpoint at step {step} cannot be read: {type(error).__name__}: {error}",
            where=str(self._manager.directory / str(step)),
            remedy="it is damaged or not whole; move its folder away to go on from the one before it",
        )


def _named(state: TrainState) -> list[tuple[str, Any]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in leaves]


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None))
