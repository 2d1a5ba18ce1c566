"""The program in processes of its own that need not load JAX first: forked from one that has.

Environment, console, signals and exit are such a process's own, and so is every module of the project and
of the Hub's libraries. Only what takes seconds is there: JAX and what stands on it, no backend begun.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

_LOADED = (
    "jax", "jax.experimental.pallas", "flax.nnx", "optax", "orbax.checkpoint", "grain", "pydantic", "jinja2",
    "hydra.main", "hydra._internal.core_plugins.basic_launcher", "matplotlib.figure",
    "matplotlib.backends.backend_agg", "rich.console", "rich.table", "tensorboardX", "pyarrow.parquet",
    "safetensors.numpy", "tokenizers",
)  # fmt: skip
# As `python -m tunix_exp` would set it and begin again.
_ALLOCATOR = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


class Forked:
    """One process of the program, as `subprocess.Popen` has it."""

    def __init__(self, *words: str, environ: Mapping[str, str] = os.environ) -> None:
        """Begin `python -m tunix_exp *words`."""
        assert _read_early(environ) == _read_early(os.environ), "JAX was loaded with another environment"
        self._said = tempfile.NamedTemporaryFile()  # noqa: SIM115, it is there as long as this is
        request = {"words": words, "environ": {**environ, **_ALLOCATOR}, "cwd": os.getcwd()}
        request["said"] = self._said.name
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(_address())
        self._lines = self._server.makefile("rw", encoding="utf-8")
        self._lines.write(json.dumps(request) + "\n")
        self._lines.flush()
        self.pid = int(self._lines.readline())
        self.returncode: int | None = None
        self.processor_s = 0.0

    @property
    def said(self) -> str:
        """What it has printed, and complained, until now."""
        return Path(self._said.name).read_text(encoding="utf-8")

    def poll(self) -> int | None:
        """The exit status, below zero the signal that ended it; `None` while it runs."""
        if self.returncode is None and select.select([self._server], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, once there is one; raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._server], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("tunix_exp", timeout or 0.0)
            status, self.processor_s = json.loads(self._lines.readline())
            self.returncode = os.waitstatus_to_exitcode(status)
            self._lines.close()
            self._server.close()
        return self.returncode

    def kill(self) -> None:
        """What no process survives, where it still runs."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def _read_early(environ: Mapping[str, str]) -> dict[str, str]:
    late = {"XLA_FLAGS"}  # which XLA reads when it begins a backend
    return {
        name: value
        for name, value in environ.items()
        if name.startswith(("JAX_", "XLA_", "MPL")) and name not in late
    }


@functools.cache
def _address() -> str:
    """Where the process listens that all are forked from; it ends with this one."""
    address = f"{tempfile.mkdtemp(prefix='forking-')}/socket"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.forking", address],
        cwd=Path(__file__).parents[1], stdin=subprocess.PIPE, env=os.environ | _ALLOCATOR,
    )  # fmt: skip
    atexit.register(process.communicate)
    while not Path(address).exists():
        assert process.poll() is None, "the process to fork from ended"
        time.sleep(0.01)
    return address


def _serve(address: str) -> dict[str, object] | None:
    """In each forked process what was asked of it; in the one that listens nothing, at its end."""
    for name in _LOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(f"{address}.new")
    listening.listen()
    os.rename(f"{address}.new", address)
    waiting = 0
    while True:
        ready, _, _ = select.select([listening, sys.stdin], [], [])
        if sys.stdin in ready:
            os.unlink(address)
            os.rmdir(os.path.dirname(address))
            return None
        asking, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            return _kept(asking)
        asking.close()
        waiting += 1
        while waiting and os.waitpid(-1, os.WNOHANG)[0]:
            waiting -= 1


def _kept(asking: socket.socket) -> dict[str, object]:
    """In the program's process what was asked; another process waits for it and tells how it ended."""
    with asking, asking.makefile("rw", encoding="utf-8") as lines:
        request = json.loads(lines.readline())
        pid = os.fork()
        if pid == 0:
            return request
        # the test may have gone
        with contextlib.suppress(BrokenPipeError):
            print(pid, file=lines, flush=True)
            _, status, used = os.wait4(pid, 0)
            print(json.dumps([status, used.ru_utime + used.ru_stime]), file=lines, flush=True)
    os._exit(0)


def _run(request: dict) -> None:
    """This process is `python -m tunix_exp …`, asked for in another."""
    import runpy

    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environ"])
    said = os.open(request["said"], os.O_WRONLY | os.O_APPEND)
    for number in (1, 2):
        os.dup2(said, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = ["tunix_exp", *request["words"]]
    runpy.run_module("tunix_exp", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    asked = _serve(sys.argv[1])
    if asked is not None:
        _run(asked)
