"""What must stand in the process environment before JAX is imported."""

import os
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from tunix_exp.device.config import DeviceConfig
from tunix_exp.errors import UserError

_PLATFORM = {"cpu": "cpu", "gpu": "cuda", "tpu": "tpu"}


# Left by an earlier job of this process, they would hold for the next one too.
_OURS = frozenset({"JAX_DEFAULT_MATMUL_PRECISION", "XLA_CLIENT_MEM_FRACTION"})
# JAX reads it too, under its name of before, and stops where both are set.
_OLD_FRACTION = "XLA_PYTHON_CLIENT_MEM_FRACTION"

# For the TPU compiler alone: libtpu then asks no metadata server what machine this is, takes any answer
# here, and leaves the lock alone by which a process claims the TPU: several may compile side by side.
# It reads them when the first topology is asked for, so that they may come after JAX.
COMPILER_ONLY = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def wanted(config: DeviceConfig, *, preflight: bool) -> dict[str, str]:
    """The variables that `config` asks for; the preflight of a topology computes nothing on a TPU."""
    variables: dict[str, str] = {}
    only_compiles = preflight and config.topology is not None
    if only_compiles:
        variables |= {"JAX_PLATFORMS": "cpu", **COMPILER_ONLY}
    elif config.platform != "auto":
        variables["JAX_PLATFORMS"] = _PLATFORM[config.platform]
    if config.xla_flags:
        variables["XLA_FLAGS"] = " ".join(config.xla_flags)
    if config.matmul_precision != "default":
        variables["JAX_DEFAULT_MATMUL_PRECISION"] = config.matmul_precision
    if config.memory_fraction is not None:
        variables["XLA_CLIENT_MEM_FRACTION"] = str(config.memory_fraction)
    # JAX would keep a program for a TPU that is not here, but cannot read it back without one.
    if config.compilation_cache is not None and not only_compiles:
        variables["JAX_COMPILATION_CACHE_DIR"] = str(Path(config.compilation_cache).expanduser())
        # Else JAX keeps what took a second, and the small programs of a run are compiled in every start.
        variables["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    return variables


def apply(
    config: DeviceConfig, *, preflight: bool, environ: MutableMapping[str, str] = os.environ
) -> dict[str, str]:
    """Set the variables and return them; with JAX already imported they must stand as wanted.

    XLA reads them once. A second job of this process that needs others is refused.
    """
    variables = wanted(config, preflight=preflight)
    if config.memory_fraction is not None and _OLD_FRACTION in environ:
        raise UserError(
            f"device.memory_fraction={config.memory_fraction}, but the environment has {_OLD_FRACTION}="
            f"{environ[_OLD_FRACTION]}",
            where="device.memory_fraction",
            remedy=f"unset {_OLD_FRACTION}, or set device.memory_fraction to null",
        )
    for name, value in variables.items():
        if "\0" in value:
            raise UserError(
                f"{name} would hold a null character, which no environment can",
                where="device",
                remedy="look at device.xla_flags and device.compilation_cache",
            )
    if "jax" in sys.modules:
        wrong = unlike(variables, environ)
        if wrong:
            raise UserError(
                "this process has JAX running with another environment: "
                + ", ".join(f"{k} is {v!r}, wanted {variables.get(k)!r}" for k, v in wrong.items()),
                where="device",
                remedy="one process serves one device config; sweep over devices with a launcher that has"
                " processes of its own (uv sync --extra sweep; hydra/launcher=joblib_processes)",
            )
    environ.update(variables)
    return variables


def unlike(variables: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str | None]:
    """In what the environment of a process in which JAX runs is not the one that is wanted."""
    wrong = {
        k: environ.get(k) for k, v in variables.items() if environ.get(k) != v and k not in COMPILER_ONLY
    }
    return wrong | {k: environ[k] for k in sorted(_OURS - variables.keys()) if k in environ}
