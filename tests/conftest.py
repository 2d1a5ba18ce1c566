"""The strict session: CPU, no rank promotion, no network."""

import atexit
import gc
import os
import shutil
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from importlib import metadata

os.environ["JAX_PLATFORMS"] = "cpu"
# Toy programs run once or twice: compiling them is nearly all of the time, two thirds of it in the emitters
# of fusions; what is cut into parts for several threads takes longer in all. What the shell asks for stands
# last and wins: `XLA_FLAGS=--xla_cpu_max_isa=SSE4_2` has another processor's instructions,
# `XLA_FLAGS=--xla_cpu_use_fusion_emitters=true` the emitters.
os.environ["XLA_FLAGS"] = " ".join([
    "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1",
    # later compilers do not know it, and a flag that is unknown ends the process
    *(["--xla_cpu_use_fusion_emitters=false"] if metadata.version("jaxlib").startswith("0.10.") else []),
    os.environ.get("XLA_FLAGS", ""),
]).strip()  # fmt: skip
# What one process of the program compiled the others read back, for as long as the session lasts.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="tunix-exp-tests-")
    # by the process that made it; its workers find the variable set
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
# A tenth of lowering is to note down from which lines it came.
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TUNIX_EXP_CACHE"] = ""  # rows are read again in every test
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tunix_exp import streams
from tunix_exp.programs import forget_programs_when_many

# Tests start many processes: each would compile every package again, which takes longer than what they do.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# What is imported and collected stays for the session: garbage is first looked for when that is done.
gc.disable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most slow tests come first: then no worker is long alone with its last one."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def pytest_collection_finish() -> None:
    """Garbage is looked for in what the tests make, not in a million objects that stay."""
    if "jax" in sys.modules:
        lower_in_one_context()
        compile_without_cache()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # else a twelfth of the time goes into looking for it again and again
    gc.enable()


def lower_in_one_context() -> None:
    """Each thread has one MLIR context for the thousands of toy programs, and their end is the process's."""
    from jax._src import api
    from jax._src.interpreters import mlir

    make, kept = mlir.make_ir_context, threading.local()

    def context() -> Any:
        if not hasattr(kept, "context"):
            kept.context = make()
        return kept.context

    mlir.make_ir_context = context
    atexit.unregister(api.clean_up)


def compile_without_cache() -> None:
    """To write down thousands of toy programs takes longer than to compile again the few that come again."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # a test module may have begun it


# An example that takes long is no fault: the machine may be slow, or others' work on it.
settings.register_profile("any pace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any pace")


@pytest.fixture(autouse=True)
def no_console_is_lost_yet(monkeypatch) -> None:
    """What a library still writes to the console of an earlier test is no loss of this one's."""
    monkeypatch.setattr(streams, "_lost", {})


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory) -> Path:
    """A completed run of the toy experiment, made once; copy it before altering it."""
    # late: the environment above is set, and a session without a run needs no Hydra
    from tests.running import run_toy

    folder = tmp_path_factory.mktemp("toy") / "run"
    assert run_toy(folder, "eval.heldout_every_steps=2") == 0
    return folder


@pytest.fixture(autouse=True, scope="session")
def configs_are_composed_quickly() -> Iterator[None]:
    """Hydra does nothing again that it did for another config."""
    from tests.composing import composed_quickly

    with composed_quickly():
        yield


@pytest.fixture(autouse=True, scope="session")
def no_write_waits_for_the_disk() -> Iterator[None]:
    """No test cuts the power: what is written need not have come further than to the system."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True, scope="module")
def programs_are_forgotten() -> Iterator[None]:
    """No session meets the limit of compiled programs that a process has."""
    yield
    forget_programs_when_many()
