"""What the run stood on: interpreter, packages, machine, and the place it ran in."""

import functools
import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import psutil

from tunix_exp.evidence.checkout import PACKAGE
from tunix_exp.evidence.sections import Kaggle, Machine

# Which of these are installed decides what a run computes; accelerator plugins are there or not.
_VERSIONED = (
    PACKAGE,
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "transformers",
    "tokenizers",
    "datasets",
    "safetensors",
    "huggingface-hub",
    "numpy",
    "hydra-core",
    "pydantic",
    "tensorboardX",
)
_VERSIONED_WHERE_INSTALLED = (
    "jax-cuda12-plugin",
    "jax-cuda12-pjrt",
    "jax-cuda13-plugin",
    "jax-cuda13-pjrt",
    "libtpu",
)

# The only environment variables that are recorded: others may hold secrets or say who the user is.
RECORDED_ENVIRONMENT = (
    "CUDA_VISIBLE_DEVICES",
    "GLIBC_TUNABLES",
    "HF_HUB_OFFLINE",
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_DEFAULT_MATMUL_PRECISION",
    "JAX_ENABLE_X64",
    "JAX_PLATFORMS",
    "JAX_THREEFRY_PARTITIONABLE",
    "LIBTPU_INIT_ARGS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "PYTHONHASHSEED",
    "TF_GPU_ALLOCATOR",
    "TPU_CHIPS_PER_PROCESS_BOUNDS",
    "TPU_PROCESS_BOUNDS",
    "TPU_SKIP_MDS_QUERY",
    "TPU_VISIBLE_CHIPS",
    "XLA_CLIENT_MEM_FRACTION",
    "XLA_FLAGS",
    "XLA_PYTHON_CLIENT_ALLOCATOR",
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
    "XLA_PYTHON_CLIENT_PREALLOCATE",
)

# Kaggle tells a notebook neither its address nor its version: the notebook's first cell sets these.
_KAGGLE = {
    "kaggle_notebook_url": "KAGGLE_NOTEBOOK_URL",
    "kaggle_notebook_version": "KAGGLE_NOTEBOOK_VERSION",
    "kaggle_run_id": "KAGGLE_RUN_ID",
}

_UNKNOWN = "unknown"  # some systems leave empty what they do not know


def environment_text(environ: Mapping[str, str]) -> str:
    """`env_info.txt`: interpreter, system, processor, memory, recorded variables, every package."""
    gib = psutil.virtual_memory().total / 2**30
    cores = f"{psutil.cpu_count(logical=False)} cores, {psutil.cpu_count()} threads"
    lines = [
        f"python    {platform.python_implementation()} {platform.python_version()}",
        f"system    {platform.platform()}",
        f"processor {_processor()}, {cores}",
        f"memory    {gib:.1f} GiB",
        "",
        "environment variables (of those that are recorded)",
        *[f"  {variable_line(*pair)}" for pair in recorded_environment(environ).items()],
        "",
        "packages",
        *[f"  {name}=={version}" for name, version in sorted(installed().items())],
    ]
    return without_home("\n".join(lines) + "\n")


def machine() -> Machine:
    """The kind of machine: what must be alike, besides versions and devices, for the same bits."""
    said = _cpuinfo()
    flags = next((said[key] for key in ("flags", "Features") if key in said), None)
    return Machine(
        system=platform.system() or _UNKNOWN,
        architecture=platform.machine() or _UNKNOWN,
        processor=_processor(),
        cpu_flags=" ".join(sorted(flags.split())) or None if flags is not None else None,
        threads=usable_cores(),
    )


def recorded_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of those that are recorded, the home folder written `~`.

    Bytes that are no UTF-8, which the system allows, are written as Python escapes.
    """
    return {
        name: without_home(environ[name]).encode("utf-8", "backslashreplace").decode("utf-8")
        for name in RECORDED_ENVIRONMENT
        if name in environ
    }


def variable_line(name: str, value: str) -> str:
    """The variable on one line, whatever its value: as it is, or as a JSON string.

    What begins with a quote is always JSON. Such are values that begin or end in white space, hold line ends
    or other characters that do not print, or begin with a quote of their own.
    """
    is_plain = value.isprintable() and value == value.strip() and not value.startswith('"')
    return f"{name}={value if is_plain else json.dumps(value)}"


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that decide what a run computes."""
    found = {"python": platform.python_version()}
    found |= {name: metadata.version(name) for name in _VERSIONED}
    here = installed()
    return found | {name: here[name] for name in _VERSIONED_WHERE_INSTALLED if name in here}


def kaggle_fields(environ: Mapping[str, str]) -> Kaggle:
    """The manifest's Kaggle fields; null where the environment does not say."""
    return Kaggle(**{field: environ.get(variable) or None for field, variable in _KAGGLE.items()})


def without_home(text: str) -> str:
    """`text` with the home folder written `~`, so that evidence does not say who ran it."""
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text


@functools.cache
def installed() -> dict[str, str]:
    """Every installed package with its version, as this process found them first."""
    found = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name is not None:
            found.setdefault(name, distribution.version)
    return found


def _cpuinfo() -> dict[str, str]:
    """What Linux says of the first processor; nothing elsewhere."""
    file = Path("/proc/cpuinfo")
    if not file.is_file():
        return {}
    first = file.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _processor() -> str:
    said = _cpuinfo()
    name = said["model name"] if "model name" in said else platform.processor() or platform.machine()
    # a virtual machine's model name may be a whole line of products
    kind = [f"{key} {said[key]}" for key in ("cpu family", "model", "stepping") if key in said]
    return f"{name or _UNKNOWN} ({', '.join(kind)})" if kind else name or _UNKNOWN


def usable_cores() -> int:
    """How many processors this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return psutil.cpu_count() or 1
