"""One run by several processes, each with some of the devices: the numbers of one process with them all."""

import os
import socket
from pathlib import Path

import pytest

from tests.closeness import assert_close
from tests.forking import Forked
from tests.running import TOY, read_jsonl
from tunix_exp.evidence.verify import verify
from tunix_exp.exits import COMPLETED

WORDS = (
    *(word for word in TOY if not word.startswith("model.")), "model=tiny-gemma",
    "training.steps=6", "training.batch_size=8", "training.save_every_steps=3", "eval.max_items=8",
)  # fmt: skip
# Of a whole step in float32 on other devices, by several updates.
ROUNDINGS = 100


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def begun(folder: Path, processes: int, *words: str, devices: int = 8, timeout_s: float = 60) -> list[Forked]:
    """The run in `folder` under way in so many processes, which share so many devices."""
    each = devices // processes
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={each}"
    environ = os.environ | {"XLA_FLAGS": flags}
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


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("alone") / "run"
    ended(begun(folder, 1))
    return folder


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> tuple[Path, list[Forked]]:
    folder = tmp_path_factory.mktemp("together") / "run"
    processes = begun(folder, 2)
    ended(processes)
    return folder, processes


@pytest.mark.slow
def test_two_processes_have_the_losses_and_the_answers_of_one(alone, together):
    run, _ = together
    assert verify(run) == []
    files = {"metrics.jsonl": "loss", "heldout/base.jsonl": "nats", "heldout/trained.jsonl": "nats"}
    for file, key in files.items():
        found, due = ([row[key] for row in read_jsonl(one / file)] for one in (run, alone))
        assert_close(found, due, roundings=ROUNDINGS)
    for which in ("base", "trained"):
        found, due = (read_jsonl(one / f"predictions/{which}.jsonl") for one in (run, alone))
        assert found == due
