"""The processes that compute one run, on one host or many: who they are, and what they agree on.

They meet at JAX's coordination service, which process 0 runs. Each runs the whole program; what one of them
alone can know, or must decide, passes through `everyone`, which all call at the same places and in the same
order. A run of one process pays nothing: what it would ask others it answers itself.
"""

import functools
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

from tunix_exp.device.config import DistributedConfig
from tunix_exp.device.group import Ended, Group
from tunix_exp.errors import Interrupted, UserError
from tunix_exp.interruption import GRACE_S

_T = TypeVar("_T")

JOINING_S, SILENCE_S = 300.0, 50.0  # where `device.distributed.timeout_s` names neither

_group: Group | None = None


def join(config: DistributedConfig) -> None:
    """The processes of the run have met, or a UserError says that they have not in time."""
    global _group
    assert config.coordinator is not None
    import jax
    from jax._src import distributed  # no other way to its key-value store
    from jax._src.lib import _jax  # pyright: ignore[reportPrivateImportUsage]

    asked, silence_s = asked_of_jax(config)
    # Its handler would take SIGTERM from ours; `stops` does what it is for.
    jax.config.update("jax_enable_preemption_service", False)
    connect = _jax.get_distributed_runtime_client
    # Unless there is somebody to be told, JAX ends the process where it cannot join.
    told = functools.partial(connect, missed_heartbeat_callback=lambda *_: None)
    _jax.get_distributed_runtime_client = told
    try:
        jax.distributed.initialize(**asked)
    except (RuntimeError, ValueError, OSError) as error:
        # There is nothing to leave, and JAX would wait for it at its end.
        distributed.global_state.client = distributed.global_state.service = None
        raise _not_joined(config, asked["initialization_timeout"], error) from error
    finally:
        _jax.get_distributed_runtime_client = connect
    state = distributed.global_state
    address = str(state.coordinator_address)
    _group = Group(state.client, address, state.process_id, state.num_processes, silence_s)


def asked_of_jax(config: DistributedConfig) -> tuple[dict[str, Any], float]:
    """The arguments by which a process joins the others, and after how many silent seconds one is lost."""
    joining_s, silence_s = JOINING_S, SILENCE_S
    if config.timeout_s is not None:
        joining_s = silence_s = config.timeout_s
    arguments = {
        "coordinator_address": None if config.coordinator == "auto" else config.coordinator,
        "num_processes": config.processes,
        "process_id": config.process,
        "initialization_timeout": math.ceil(joining_s),
        # JAX ends a process without a word where it misses another: later than all is said.
        "heartbeat_timeout_seconds": math.ceil(3 * silence_s),
        "shutdown_timeout_seconds": math.ceil(joining_s),
    }
    return arguments, silence_s


def _not_joined(config: DistributedConfig, joining_s: float, error: Exception) -> UserError:
    if config.coordinator == "auto":
        return UserError(
            f"JAX finds no cluster here, or not all of its processes came within {joining_s:g} s: {error}",
            where="device.distributed.coordinator",
            remedy="begin every process by srun, mpirun or on every worker of the TPU slice; elsewhere name"
            " the address: device.distributed.coordinator=HOST:PORT device.distributed.processes=N"
            " device.distributed.process=I",
        )
    # jaxlib cannot tell Python of a time-out, and says so
    why = "" if "bad_cast" in str(error) else f": {error}"
    return UserError(
        f"not all {config.processes} processes met at {config.coordinator} within {joining_s:g} s{why}",
        where="device.distributed",
        remedy="begin one for each number from 0 on, with the address and a free port of the host of process"
        " 0, which the others can reach; device.distributed.timeout_s waits longer",
    )


def count() -> int:
    """How many processes compute this run."""
    return 1 if _group is None else _group.count


def index() -> int:
    """Which of them this is, from 0."""
    return 0 if _group is None else _group.index


def first() -> tuple[str, str, float]:
    """The address and the host of process 0, and the seconds within which it knows of a process's end."""
    assert _group is not None
    return _group.address, _group.hosts[0], 1.5 * _group.silence_s + 2 * GRACE_S


def everyone(name: str, value: _T) -> list[_T]:
    """What each process gave, as JSON, in their order; all call it at the same place."""
    return [value] if _group is None else _group.everyone(name, value)


def agreed(name: str, make: Callable[[], _T]) -> _T:
    """What process 0 makes, as JSON; the others make nothing."""
    return make() if _group is None else everyone(name, make() if index() == 0 else None)[0]  # pyright: ignore[reportReturnType]


def check_same(what: str, values: Mapping[str, Any], *, remedy: str) -> None:
    """Every process has these values; else a UserError that names the first key and process of another."""
    for process, theirs in enumerate(everyone(what, dict(values))):
        for key, value in values.items():
            first = json.loads(json.dumps(value))
            if theirs.get(key) != first:
                raise UserError(
                    f"{what} differs between processes: {key} is {first!r:.200} in process {index()},"
                    f" {theirs.get(key)!r:.200} in process {process}",
                    where=f"process {process}",
                    remedy=remedy,
                )


def stops(asked: bool, done: int) -> bool:
    """Whether the run stops after `done` steps, where one of its processes was `asked` to."""
    return asked if _group is None else _group.stops(asked, done)


def at_worst(write: Callable[[Ended], None] | None) -> None:
    """`write` is called in another thread, before a process that waits for one that ended is ended itself."""
    if _group is not None:
        _group.at_worst = write


def ending() -> None:
    """The main thread ends the run: no other thread does."""
    if _group is not None:
        _group.is_ending = True


def tell_end(status: Literal["failed", "interrupted"], stage: str, error: BaseException) -> None:
    """The other processes hear how this one ended, and end too."""
    if _group is not None:
        _group.tell_end(status, stage, str(error) or type(error).__name__)


def explained(error: Exception) -> Exception:
    """`error`, or the end of another process, of which it came."""
    is_own = _group is None or isinstance(error, UserError | Interrupted)
    return error if is_own else _group.explained(error)  # pyright: ignore[reportOptionalMemberAccess]


def leave(status: int) -> None:
    """The process has done its part; of a run that did not end well it exits here, with the status."""
    global _group
    if _group is not None:
        _group.leave(status)
        _group = None
