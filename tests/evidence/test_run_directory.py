import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunix_exp.errors import Interrupted, UserError
from tunix_exp.evidence import claimed, run_directory
from tunix_exp.evidence.manifest import RunManifest
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.evidence.verify import Disagreement, verify

ClaimRun = Callable[..., RunDirectory]
FillRun = Callable[..., None]

# A process of its own that opens a manifest; what it then does stands in the test.
PROLOGUE = """
import sys, time
from pathlib import Path
from tunix_exp.errors import UserError
from tunix_exp.evidence.manifest import parse_manifest
from tunix_exp.evidence.run_directory import RunDirectory
manifest = parse_manifest(sys.stdin.read())
root = Path(sys.argv[1])
"""


def _process(script: str, manifest: RunManifest, root: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROLOGUE + script, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(manifest.model_dump_json())
    process.stdin.close()
    return process


def _manifest(run: RunDirectory) -> dict[str, Any]:
    return json.loads((run.root / "run_manifest.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("dies_at", ["SHA256SUMS", "run_manifest.json"])
def test_a_manifest_is_final_only_once_its_hash_is_in_the_seal(
    tmp_path: Path, opening_manifest: RunManifest, monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    run = RunDirectory.claim(tmp_path / "run", opening_manifest)
    replace, sealing = claimed.replace, []

    def dying(path: Path, content: bytes) -> None:
        final = path.name == "run_manifest.json" and json.loads(content)["status"] != "running"
        if path.name == "SHA256SUMS" or final:
            sealing.append(path.name)
            if path.name == dies_at:
                raise KeyboardInterrupt
        replace(path, content)

    monkeypatch.setattr(claimed, "replace", dying)
    with pytest.raises(KeyboardInterrupt):
        run.fail("training", ValueError("x"), analysis="why")
    assert sealing == ["SHA256SUMS", "run_manifest.json"][: len(sealing)]
    assert _manifest(run)["status"] == "running"


# ── the claim ────────────────────────────────────────────────────────────────────────────────────────


def test_a_claimed_directory_says_running_from_the_start(
    tmp_path: Path, opening_manifest: RunManifest
) -> None:
    run = RunDirectory.claim(tmp_path / "a" / "b", opening_manifest)
    assert _manifest(run)["status"] == "running"


def test_a_directory_with_hydras_own_files_can_be_claimed(
    tmp_path: Path, opening_manifest: RunManifest
) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / "job.log").write_text("")
    assert RunDirectory.claim(tmp_path, opening_manifest).manifest.status == "running"


def test_a_directory_in_use_is_refused_with_the_status_of_what_lies_there(
    completed_run: Path, opening_manifest: RunManifest
) -> None:
    before = (completed_run / "run_manifest.json").read_bytes()
    with pytest.raises(
        UserError, match="run directory in use: the run that lies there is `completed`"
    ) as caught:
        RunDirectory.claim(completed_run, opening_manifest)
    assert "hydra.run.dir" in str(caught.value.remedy)
    assert "training.resume" in str(caught.value.remedy)
    assert (completed_run / "run_manifest.json").read_bytes() == before


def test_a_manifest_that_does_not_parse_is_in_use_too(tmp_path: Path, opening_manifest: RunManifest) -> None:
    (tmp_path / "run_manifest.json").write_bytes(b"\xff")
    with pytest.raises(UserError, match="the run that lies there is unreadable"):
        RunDirectory.claim(tmp_path, opening_manifest)


def test_a_directory_with_other_files_is_refused_and_left_as_it_was(
    tmp_path: Path, opening_manifest: RunManifest
) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match=r"the run directory is not empty: thesis\.tex"):
        RunDirectory.claim(tmp_path, opening_manifest)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, opening_manifest: RunManifest) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="the run directory cannot be written: Not a directory") as caught:
        RunDirectory.claim(tmp_path / "file" / "run", opening_manifest)
    assert "hydra.run.dir" in str(caught.value.remedy)


def test_of_two_processes_that_claim_at_once_exactly_one_wins(
    tmp_path: Path, opening_manifest: RunManifest
) -> None:
    script = """
while not (root / "go").exists():
    time.sleep(0.0005)
for number in range(40):
    try:
        RunDirectory.claim(root / str(number), manifest)
        print(number)
    except UserError as error:
        assert error.what.startswith("run directory in use"), error
"""
    processes = [_process(script, opening_manifest, tmp_path) for _ in range(2)]
    (tmp_path / "go").write_text("")
    won = []
    for process in processes:
        assert process.stdout is not None
        won += process.stdout.read().split()
        assert process.wait() == 0
    assert sorted(won, key=int) == [str(number) for number in range(40)]


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, claim_run: ClaimRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = claim_run(tmp_path / "run")
    run.write_text("README.md", "first")

    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(claimed.os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        run.write_text("README.md", "second")
    assert (run.root / "README.md").read_text() == "first"
    assert not list(run.root.glob("*.tmp")) + list(run.root.glob(".*.tmp"))


def test_text_is_utf8_with_the_line_ends_that_it_has(tmp_path: Path, claim_run: ClaimRun) -> None:
    run = claim_run(tmp_path / "run")
    run.write_text("README.md", "größer\n")
    assert (run.root / "README.md").read_bytes() == "größer\n".encode()


@pytest.mark.parametrize("write", ["write_json", "append_jsonl"])
def test_nan_is_refused_by_key_and_file_and_nothing_is_written(
    tmp_path: Path, claim_run: ClaimRun, write: str
) -> None:
    run = claim_run(tmp_path / "run")
    with pytest.raises(UserError, match=r"`a\.loss` is nan") as caught:
        getattr(run, write)("some.json", {"a": {"loss": float("nan")}})
    assert caught.value.where == "some.json"
    assert not (run.root / "some.json").exists()


def test_nan_is_refused_in_the_manifest(tmp_path: Path, claim_run: ClaimRun) -> None:
    with pytest.raises(UserError, match="`tokens_per_s` is nan"):
        claim_run(tmp_path / "run").update(tokens_per_s=float("nan"))


def test_an_appended_line_is_readable_at_once(tmp_path: Path, claim_run: ClaimRun) -> None:
    run = claim_run(tmp_path / "run")
    run.append_jsonl("metrics.jsonl", {"step": 1})
    run.append_jsonl("metrics.jsonl", {"step": 2})
    assert (run.root / "metrics.jsonl").read_text() == '{"step": 1}\n{"step": 2}\n'


@pytest.mark.parametrize("name", ["../other", "/etc/motd", "run_manifest.json", "", "."])
def test_a_path_stays_inside_and_off_the_manifest(tmp_path: Path, claim_run: ClaimRun, name: str) -> None:
    with pytest.raises(ValueError, match="not a file of the run directory"):
        claim_run(tmp_path / "run").path(name)


def test_an_update_merges_into_a_section(tmp_path: Path, claim_run: ClaimRun) -> None:
    run = claim_run(tmp_path / "run")
    run.update(times_s={"train": 2.0}, model={"base_weight_hash": "a" * 64})
    assert _manifest(run)["times_s"] == {"prepare": 0.5, "train": 2.0}
    assert _manifest(run)["model"]["name"] == "toy-gpt2"
    assert run.manifest.model is not None
    assert run.manifest.model.base_weight_hash == "a" * 64


@pytest.mark.parametrize(
    ("section", "says"),
    [("status", "only the end of a run sets"), ("files", "only the end"), ("surplus", "has no section")],
)
def test_an_update_cannot_end_the_run_or_add_a_section(
    tmp_path: Path, claim_run: ClaimRun, section: str, says: str
) -> None:
    run = claim_run(tmp_path / "run")
    with pytest.raises(ValueError, match=says):
        run.update(**{section: "completed"})
    assert _manifest(run)["status"] == "running"


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("mode", "eval_kind"),
    [("full", "items"), ("smoke", "items"), ("full", "none"), ("eval", "items"), ("preflight", "items")],
)
def test_a_consistent_run_of_every_mode_completes(
    tmp_path: Path, claim_run: ClaimRun, fill_run: FillRun, mode: str, eval_kind: str
) -> None:
    run = claim_run(tmp_path / "run", mode=mode, eval_kind=eval_kind)
    fill_run(run)
    run.complete()
    assert _manifest(run)["status"] == "completed"
    assert verify(run.root) == []


def test_a_run_that_disagrees_with_itself_fails_and_says_where(
    tmp_path: Path, claim_run: ClaimRun, fill_run: FillRun
) -> None:
    run = claim_run(tmp_path / "run")
    fill_run(run)
    (run.root / "example.txt").unlink()
    (run.root / "plan.json").unlink()
    both = r"the run's files disagree \(\d+\): .*example\.txt: is missing.*plan\.json: is missing"
    with pytest.raises(UserError, match=both) as caught:
        run.complete()
    assert "nothing in it counts as a result" in str(caught.value.remedy)
    manifest = _manifest(run)
    assert manifest["status"] == "failed"
    assert manifest["error"]["stage"] == "verify"
    assert "example.txt" in manifest["error"]["message"]


def test_the_analysis_of_a_run_that_could_not_complete_can_still_be_written(
    tmp_path: Path, claim_run: ClaimRun
) -> None:
    run = claim_run(tmp_path / "run")
    with pytest.raises(UserError, match="disagree") as caught:
        run.complete()
    assert Disagreement("failure_analysis.md", "is missing in a failed run of mode full") in verify(run.root)
    run.fail("finish", caught.value, analysis="# What went wrong\n")
    assert _manifest(run)["error"]["stage"] == "verify"
    assert verify(run.root) == []


def test_while_the_verifier_reads_the_run_is_still_running(
    tmp_path: Path, claim_run: ClaimRun, fill_run: FillRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = claim_run(tmp_path / "run")
    fill_run(run)

    def killed(root: Path, *, as_status: str) -> list[Disagreement]:
        assert json.loads((root / "run_manifest.json").read_text())["status"] == "running"
        raise KeyboardInterrupt

    monkeypatch.setattr(run_directory, "verify", killed)
    with pytest.raises(KeyboardInterrupt):
        run.complete()
    assert _manifest(run)["status"] == "running"


def test_a_failed_run_keeps_its_error_and_its_analysis(tmp_path: Path, claim_run: ClaimRun) -> None:
    run = claim_run(tmp_path / "run")
    run.append_jsonl("metrics.jsonl", {"step": 1})
    error = UserError("the loss is nan", where="step 7", remedy="lower optim.peak_lr")
    run.fail("train", error, analysis="# The loss became nan\n")
    assert _manifest(run)["error"] == {
        "stage": "train",
        "type": "UserError",
        "message": "the loss is nan",
        "where": "step 7",
        "remedy": "lower optim.peak_lr",
    }
    assert (run.root / "failure_analysis.md").read_text() == "# The loss became nan\n"
    assert verify(run.root) == []


def test_no_part_of_an_error_tells_where_the_home_folder_is(
    tmp_path: Path, claim_run: ClaimRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    run = claim_run(tmp_path / "run")
    run.fail("load", UserError("/home/someone/a is cut", where="/home/someone/a"), analysis="text")
    record = _manifest(run)["error"]
    assert (record["message"], record["where"]) == ("~/a is cut", "~/a")


def test_a_defect_is_recorded_with_the_line_that_raised_it(
    tmp_path: Path, claim_run: ClaimRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    run = claim_run(tmp_path / "run")
    try:
        raise KeyError("/home/someone/weights")
    except KeyError as error:
        run.fail("load", error, analysis="text")
    record = _manifest(run)["error"]
    assert record["type"] == "KeyError"
    assert record["message"] == "'~/weights'"
    assert record["where"].startswith("test_run_directory.py, line ")


def test_an_error_without_words_is_named_by_its_type(tmp_path: Path, claim_run: ClaimRun) -> None:
    run = claim_run(tmp_path / "run")
    run.fail("train", KeyboardInterrupt(), analysis="text")
    assert _manifest(run)["error"]["message"] == "KeyboardInterrupt"


def test_a_file_system_that_fails_does_not_hide_why_the_run_failed(
    tmp_path: Path, claim_run: ClaimRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = claim_run(tmp_path / "run")

    def unreadable(_: Path) -> dict[str, str]:
        raise OSError("input/output error")

    monkeypatch.setattr(run_directory, "file_hashes", unreadable)
    run.fail("train", ValueError("the cause"), analysis="text")
    assert _manifest(run)["error"]["message"] == "the cause"
    assert _manifest(run)["files"] is None
    assert verify(run.root) == []


def test_a_run_that_its_own_verifier_refused_is_a_sound_failed_run(
    tmp_path: Path, claim_run: ClaimRun, fill_run: FillRun
) -> None:
    run = claim_run(tmp_path / "run")
    fill_run(run)
    run.update(steps_done=19)
    with pytest.raises(UserError, match="`steps_done` is 19, but config") as caught:
        run.complete()
    run.fail("verify", caught.value, analysis="text")
    assert _manifest(run)["status"] == "failed"
    assert verify(run.root) == []


def test_an_interrupted_run_says_where_it_stopped(tmp_path: Path, claim_run: ClaimRun) -> None:
    run = claim_run(tmp_path / "run")
    run.interrupt("train", Interrupted("stopped after step 7"))
    assert _manifest(run)["status"] == "interrupted"
    assert _manifest(run)["error"]["message"] == "stopped after step 7"
    assert verify(run.root) == []


@pytest.mark.parametrize("end", ["complete", "interrupt"])
def test_a_run_that_ended_cannot_end_again(
    tmp_path: Path, claim_run: ClaimRun, fill_run: FillRun, end: str
) -> None:
    run = claim_run(tmp_path / "run")
    fill_run(run)
    if end == "complete":
        run.complete()
    else:
        run.interrupt("train", Interrupted("stopped"))
    before = _manifest(run)
    with pytest.raises(RuntimeError, match=f"the run is already {before['status']}"):
        run.fail("late", ValueError("x"), analysis="text")
    with pytest.raises(RuntimeError, match="the run is already"):
        run.interrupt("late", ValueError("x"))
    with pytest.raises(RuntimeError, match="the run directory is closed"):
        run.complete()
    assert _manifest(run) == before


def test_nothing_is_written_after_the_end(tmp_path: Path, claim_run: ClaimRun, fill_run: FillRun) -> None:
    run = claim_run(tmp_path / "run", mode="preflight")
    fill_run(run)
    run.append_jsonl("extra.jsonl", {"a": 1})
    run.complete()
    late: list[Callable[[], object]] = [
        lambda: run.write_text("late.txt", "x"),
        lambda: run.append_jsonl("extra.jsonl", {"a": 2}),
        lambda: run.append_jsonl("late.jsonl", {"a": 2}),
        lambda: run.path("late"),
        lambda: run.update(seed=1),
        lambda: run.board,
    ]
    for write in late:
        with pytest.raises(RuntimeError, match="the run directory is closed"):
            write()
    run.log.say("still heard, no longer written")
    assert verify(run.root) == []


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a system with SIGKILL")
def test_a_killed_run_stays_running_with_every_line_that_it_wrote(
    tmp_path: Path, opening_manifest: RunManifest
) -> None:
    script = """
run = RunDirectory.claim(root, manifest)
run.append_jsonl("metrics.jsonl", {"step": 1})
run.log.note("step 1")
print("ready", flush=True)
time.sleep(60)
"""
    process = _process(script, opening_manifest, tmp_path / "run")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert verify(tmp_path / "run") == [
        Disagreement("run_manifest.json", "the run did not finish: its status is still `running`")
    ]
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == '{"step": 1}\n'
    assert "step 1" in (tmp_path / "run" / "training_log.txt").read_text()
