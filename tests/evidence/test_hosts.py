"""Of several processes that compute one run: their records, and the end that one writes for another."""

import socket
import threading
from pathlib import Path

import pytest

from tests.running import read_json
from tunix_exp import witness
from tunix_exp.errors import UserError
from tunix_exp.evidence.kinds.folders import HOST_LOGS
from tunix_exp.evidence.manifest import RunManifest, read_manifest
from tunix_exp.evidence.opened import OpenedRun
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.evidence.sections import Host
from tunix_exp.evidence.verify import verify


@pytest.fixture
def closed() -> str:
    """An address at which nobody listens."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listening.getsockname()[1]}"


def test_a_run_whose_process_0_is_gone_is_failed_by_what_outlives_the_others(
    tmp_path, opening_manifest, closed
):
    run = RunDirectory.claim(tmp_path / "run", opening_manifest)
    witness.settle(run.root, coordinator=closed, host="node0", patience_s=60)
    manifest = read_json(run.root / "run_manifest.json")
    assert (manifest["status"], manifest["files"]) == ("failed", None)
    assert manifest["error"]["message"] == "process 0 on node0 is lost: it ended without a word"
    assert f"training.resume={run.root}" in (run.root / "failure_analysis.md").read_text()


def test_while_process_0_is_there_it_has_the_word_for_a_while(tmp_path, opening_manifest):
    run = RunDirectory.claim(tmp_path / "run", opening_manifest)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        place = {"coordinator": f"127.0.0.1:{listening.getsockname()[1]}", "host": "node0"}
        said = threading.Timer(
            0.2, lambda: run.fail("training", UserError("process 1 is lost"), analysis="so")
        )
        said.start()
        witness.settle(run.root, **place, patience_s=60)
        said.join()
        assert read_json(run.root / "run_manifest.json")["error"]["message"] == "process 1 is lost"
        late = RunDirectory.claim(tmp_path / "late", opening_manifest)
        witness.settle(late.root, **place, patience_s=0)
    assert read_json(late.root / "run_manifest.json")["status"] == "failed"


def test_a_process_that_is_not_the_first_leaves_a_log_in_the_run_and_nothing_else(
    tmp_path, opening_manifest: RunManifest, capsys
):
    run = RunDirectory.claim(tmp_path / "run", opening_manifest)
    log = run.root / "hosts/1.log"
    other = RunDirectory.claim(tmp_path / "scratch", opening_manifest, place=run.root, log=log)
    assert (run.is_kept, other.is_kept, other.shared("checkpoints/")) == (
        True,
        False,
        run.root / "checkpoints",
    )
    other.log.say("heard")
    other.write_text("plan.json", "{}")
    other.release()
    assert log.read_text().endswith("heard\n")
    assert "heard" not in capsys.readouterr().out
    assert not (run.root / "plan.json").exists()


def test_a_log_is_missing_of_a_process_that_the_manifest_names(completed_run: Path):
    hosts = [Host(process=n, host=f"node{n}", processor="A", device_kind="cpu", devices=4) for n in (0, 1)]
    manifest = read_manifest(completed_run).model_copy(update={"hosts": tuple(hosts)})
    run = OpenedRun(completed_run, manifest, "completed", lambda _: (), is_sealed=False)
    (find,) = HOST_LOGS.integrity
    assert [one.file for one in find(run)] == ["hosts/1.log"]
    assert verify(completed_run) == []  # of one process
