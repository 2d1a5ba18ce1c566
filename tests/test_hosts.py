"""One run by several processes, each with some of the devices: the numbers of one process with them all.

`bench/hosts.py` has the rest: adapters, four processes, and checkpoints the other way.
"""

import os
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.closeness import assert_close
from tests.forking import Forked
from tests.running import TOY, read_json, read_jsonl
from tunix_exp.evidence.verify import verify
from tunix_exp.exits import COMPLETED, INTERRUPTED

WORDS = (
    *(word for word in TOY if not word.startswith(("model.", "training.save"))), "model=tiny-gemma",
    "training.steps=6", "training.batch_size=8", "training.save_every_steps=3", "eval.max_items=8",
)  # fmt: skip
# Of a step in float32 that sums over devices in another order, six times over.
ROUNDINGS = 100
ENDLESS = ("training.steps=100000", "training.save_every_steps=null", "eval.max_items=2")


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def begun(folder: Path, processes: int, *words: str, devices: int = 8, timeout_s: float = 60) -> list[Forked]:
    """The run in `folder` under way in so many processes, which share so many devices."""
    flags = f"--xla_force_host_platform_device_count={devices // processes}"
    environ = os.environ | {"XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {flags}"}
    words = (*WORDS, f"hydra.run.dir={folder}", *words)
    if processes == 1:
        return [Forked(*words, environ=environ)]
    shared = {"coordinator": f"127.0.0.1:{free_port()}", "processes": processes, "timeout_s": timeout_s}
    words += tuple(f"device.distributed.{key}={value}" for key, value in shared.items())
    return [
        Forked(*words, f"device.distributed.process={process}", environ=environ)
        for process in range(processes)
    ]


def ended(processes: list[Forked], status: int = COMPLETED) -> None:
    found = [one.wait(timeout=300) for one in processes]
    assert found == [status] * len(processes), [one.said[-2000:] for one in processes]


@pytest.mark.slow
def test_two_processes_go_on_from_one_and_have_its_losses_and_its_answers(tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    ended(begun(alone, 1))
    early = shutil.copytree(alone, tmp_path / "early")
    shutil.rmtree(early / "checkpoints/6")
    ended(begun(together, 2, f"training.resume={early}"))
    assert verify(together) == []
    first, second = read_json(together / "run_manifest.json")["hosts"]
    assert (first["devices"], second["devices"], second["process"]) == (4, 4, 1)
    assert "resumes" in (together / "hosts/1.log").read_text()
    files = {"metrics.jsonl": "loss", "heldout/base.jsonl": "nats", "heldout/trained.jsonl": "nats"}
    for file, key in files.items():
        found, due = ([row[key] for row in read_jsonl(run / file)] for run in (together, alone))
        assert_close(found, due[-len(found) :], roundings=ROUNDINGS)
    for which in ("base", "trained"):
        found, due = (read_jsonl(run / f"predictions/{which}.jsonl") for run in (together, alone))
        assert found == due


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_where_a_process_is_killed_the_other_ends_and_the_run_is_failed_by_its_name(tmp_path, killed):
    run = tmp_path / "run"
    processes = begun(run, 2, *ENDLESS, timeout_s=5)
    while not (run / "metrics.jsonl").exists():
        assert [one.poll() for one in processes] == [None, None], [one.said[-2000:] for one in processes]
        time.sleep(0.1)
    os.kill(processes[killed].pid, signal.SIGKILL)
    assert processes[1 - killed].wait(timeout=60) not in (COMPLETED, INTERRUPTED)
    until = time.monotonic() + 60
    while (manifest := read_json(run / "run_manifest.json"))["status"] == "running":
        assert time.monotonic() < until
        time.sleep(0.1)
    assert manifest["status"] == "failed"
    assert f"process {killed} on {socket.gethostname()} is lost" in manifest["error"]["message"]
    assert (run / "failure_analysis.md").is_file()
    assert verify(run) == []  # as a failed run
