"""What the run stood on: interpreter, packages, machine, code, and the place it ran in."""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

from tunix_exp.evidence.manifest import Code, Kaggle

PACKAGE = "tunix-exp"

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

_TIMEOUT_S = 30

# An untracked file above this (weights, archives) is named by its size: a run begins at once.
_MOST_HASHED_BYTES = 2**26


@dataclass(frozen=True, slots=True)
class GitState:
    """The commit, whether anything differs from it, and how; `diff` is empty when nothing does."""

    commit: str
    dirty: bool
    diff: str


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
        *[f"  {name}={environ[name]}" for name in RECORDED_ENVIRONMENT if name in environ],
        "",
        "packages",
        *[f"  {name}=={version}" for name, version in sorted(_installed().items())],
    ]
    return without_home("\n".join(lines) + "\n")


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that decide what a run computes."""
    found = {"python": platform.python_version()}
    found |= {name: metadata.version(name) for name in _VERSIONED}
    installed = _installed()
    return found | {name: installed[name] for name in _VERSIONED_WHERE_INSTALLED if name in installed}


def git_state(root: Path) -> GitState | None:
    """The state of the checkout that tracks `root`; `None` where git, a checkout or a commit is missing.

    A package installed inside somebody else's checkout is not tracked by it: that commit is not its own.
    """
    if shutil.which("git") is None or not root.is_dir():
        return None
    tracked = _git(root, "ls-files", "--", ".")
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    if not tracked or commit is None:
        return None
    top = _git(root, "rev-parse", "--show-toplevel")
    diff = _git(root, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-color")
    untracked = _git(root, "ls-files", "--others", "--exclude-standard", "--full-name", "-z", ":/")
    if top is None or diff is None or untracked is None:
        return None
    names = [name for name in untracked.split("\0") if name]
    # an untracked file is named by its hash: its content is not the run directory's to copy
    whole = diff + "".join(_untracked(Path(top.strip()) / name, name) for name in names)
    return GitState(commit=commit.strip(), dirty=bool(whole), diff=whole)


def code_record(state: GitState | None) -> Code:
    """The manifest's record of the code; the hash is that of `state.diff` in UTF-8."""
    version = metadata.version(PACKAGE)
    if state is None:
        return Code(version=version, git_commit=None, git_dirty=None, git_diff_sha256=None)
    digest = hashlib.sha256(state.diff.encode()).hexdigest() if state.dirty else None
    return Code(version=version, git_commit=state.commit, git_dirty=state.dirty, git_diff_sha256=digest)


def nvidia_smi() -> str:
    """What `nvidia-smi` prints, verbatim, or one sentence that says why there is nothing."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "nvidia-smi is not on this machine.\n"
    try:
        done = subprocess.run(
            [program], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi did not answer: {error}\n"
    if done.returncode != 0:
        return f"nvidia-smi ended with status {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def kaggle_fields(environ: Mapping[str, str]) -> Kaggle:
    """The manifest's Kaggle fields; null where the environment does not say."""
    return Kaggle(**{field: environ.get(variable) or None for field, variable in _KAGGLE.items()})


def without_home(text: str) -> str:
    """`text` with the home folder written `~`, so that evidence does not say who ran it."""
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text


def _installed() -> dict[str, str]:
    found = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name is not None:
            found.setdefault(name, distribution.version)
    return found


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _git(root: Path, *words: str) -> str | None:
    # the lock is for commands that write; taking it could disturb the user's own git
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words],
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _untracked(path: Path, name: str) -> str:
    if path.is_symlink() or not path.is_file():
        return f"untracked {'-' * 64} {name}\n"
    if path.stat().st_size > _MOST_HASHED_BYTES:
        return f"untracked {f'{path.stat().st_size} bytes':-^64} {name}\n"
    with path.open("rb") as stream:
        return f"untracked {hashlib.file_digest(stream, 'sha256').hexdigest()} {name}\n"
