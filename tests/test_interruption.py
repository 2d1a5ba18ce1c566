"""A signal stops the process at once, after what must be whole, or within seconds where nobody answers."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib import import_module

import pytest

from tests.running import TOY, read_json, run_toy
from tunix_exp import cli, interruption, launch
from tunix_exp.errors import Interrupted
from tunix_exp.evidence import run_directory
from tunix_exp.evidence.verify import verify
from tunix_exp.interruption import Stopped


def send(number):
    os.kill(os.getpid(), number)


@pytest.fixture
def each_is_a_request(monkeypatch):
    """Signals that follow at once are requests of their own."""
    monkeypatch.setattr(interruption, "_ONE_REQUEST_S", 0.0)


@pytest.fixture(autouse=True)
def nothing_is_ignored() -> Iterator[None]:
    """Signals do what they do by default, also where the tests were started by `nohup`."""
    before = {number: signal.getsignal(number) for number in interruption.SIGNALS}
    for number in interruption.SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", interruption.SIGNALS, ids=lambda number: number.name)
def test_every_signal_that_asks_to_stop_raises_and_is_named(number):
    before = signal.getsignal(number)
    with pytest.raises(Stopped, match=number.name), interruption.heeded():  # noqa: PT012
        send(number)
        time.sleep(5)
    assert signal.getsignal(number) == before


def test_what_is_ignored_or_handled_by_somebody_else_is_left_alone():
    heard = []
    old = signal.signal(signal.SIGUSR2, lambda *_: heard.append("launcher"))
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with interruption.heeded():
            send(signal.SIGUSR2)
            send(signal.SIGHUP)
            time.sleep(0.01)
            assert interruption.asked() is None
    finally:
        signal.signal(signal.SIGUSR2, old)
        signal.signal(signal.SIGHUP, ignored)
    assert heard == ["launcher"]


def test_what_is_held_is_whole_before_the_stop():
    done = []
    with pytest.raises(Stopped), interruption.heeded(), interruption.held():  # noqa: PT012
        with interruption.held():
            send(signal.SIGTERM)
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"]


def test_a_deferred_request_is_asked_for_and_the_second_one_raises(each_is_a_request):
    asked = []
    with pytest.raises(Stopped), interruption.deferred() as is_asked:  # noqa: PT012
        asked.append(is_asked())
        send(signal.SIGTERM)
        asked.append(is_asked())
        send(signal.SIGTERM)
        asked.append("not reached")
    assert asked == [False, True]


def test_signals_that_come_together_are_one_request():
    with pytest.raises(Interrupted), interruption.deferred() as is_asked:  # noqa: PT012
        for _ in range(3):
            send(signal.SIGINT)
        assert is_asked()
        raise Interrupted("in order")


def test_a_request_that_the_block_did_not_heed_is_raised_at_its_end():
    with pytest.raises(Stopped, match="SIGTERM"), interruption.deferred():
        send(signal.SIGTERM)


def test_during_the_end_nothing_raises_and_it_is_known_that_somebody_asked():
    with interruption.heeded():
        with interruption.ending():
            send(signal.SIGTERM)
        assert interruption.asked() == "SIGTERM"


def test_outside_the_main_thread_nothing_is_set_and_all_goes_on():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with interruption.heeded(), interruption.deferred() as is_asked, interruption.held():
            seen.append(is_asked())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
    assert signal.getsignal(signal.SIGTERM) == before


def ended_by_signal(script):
    """Exit status, seconds from the signal to the end, and what was said of a process that runs `script`."""
    code = f"import os, signal, sys, time\nfrom tunix_exp import interruption\n{script}"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    return process.returncode, time.monotonic() - start, said


def test_a_process_that_swallows_the_stop_is_ended_after_its_last_words():
    status, seconds, said = ended_by_signal("""
interruption.GRACE_S = 0.5
interruption.heed()
interruption.at_worst(lambda name: print("last words:", name, flush=True))
is_ready = False
while True:
    try:
        is_ready = is_ready or not print("ready", flush=True)
        time.sleep(1)
    except BaseException:
        pass
""")
    assert status == 130
    assert 0.5 <= seconds < 30
    assert "last words: SIGTERM" in said
    assert "did not answer within 0.5 s" in said


def test_a_process_held_outside_the_interpreter_is_ended_too():
    # a wait that no signal cuts short, as a compiler's is none
    status, _, said = ended_by_signal("""
import ctypes, threading
interruption.GRACE_S = 0.5
interruption.heed()
signal.pthread_sigmask(signal.SIG_BLOCK, interruption.SIGNALS)
def other():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, interruption.SIGNALS)
    time.sleep(2)  # until the main thread waits
    print("ready", flush=True)
    time.sleep(60)
threading.Thread(target=other, daemon=True).start()
ctypes.CDLL(None).sleep(60)
""")
    assert status == 130
    assert "did not answer" in said


def test_a_further_signal_cuts_an_end_short_that_takes_too_long():
    status, _, said = ended_by_signal("""
interruption.GRACE_S = 0.3
interruption._ONE_REQUEST_S = 0.0
interruption.heed()
with interruption.ending():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1)  # the first one does not cut it short
    print("ready", flush=True)
    time.sleep(60)
""")
    assert status == 130
    assert "did not answer" in said


def test_a_signal_to_a_forked_child_is_not_the_parent_s():
    status, _, said = ended_by_signal("""
interruption.GRACE_S = 0.2
interruption.heed()
is_up, up = os.pipe()
child = os.fork()
if not child:
    os.write(up, b"!")
    time.sleep(60)
os.read(is_up, 1)
os.kill(child, signal.SIGTERM)
assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
time.sleep(0.6)
assert interruption.asked() is None
interruption.GRACE_S = 60
try:
    print("ready", flush=True)
    time.sleep(60)
except interruption.Stopped:
    sys.exit(7)
""")
    assert status == 7, said
    assert "did not answer" not in said


# ── a run ────────────────────────────────────────────────────────────────────────────────────────────


def module(name):
    return import_module(f"tunix_exp.stages.{name}")  # late: it imports JAX


PLACES = {
    "code": lambda: (launch, "_keep_code"),
    "config": lambda: (launch.configs, "validate"),
    "device": lambda: (module("device"), "check"),
    "data": lambda: (import_module("tunix_exp.run"), "read_texts"),
    "plan": lambda: (module("plan.step"), "compile_step"),
    "weights": lambda: (import_module("tunix_exp.run"), "load"),
    "base evaluation": lambda: (module("score"), "evaluate"),
    "report": lambda: (module("report"), "run_page"),
    "verify": lambda: (run_directory, "verify"),
}


@pytest.mark.parametrize("stage", PLACES)
def test_a_signal_in_any_stage_leaves_interrupted_evidence_that_verifies(
    tmp_path, monkeypatch, capsys, stage
):
    where, name = PLACES[stage]()
    original, left = getattr(where, name), 1 if stage != "config" else 2  # the door looks at the config first

    def interrupted(*arguments, **named):
        nonlocal left
        left -= 1
        if left == 0:
            send(signal.SIGTERM)
            time.sleep(5)
        return original(*arguments, **named)

    monkeypatch.setattr(where, name, interrupted)
    assert run_toy(tmp_path / "run") == 130
    manifest = read_json(tmp_path / "run" / "run_manifest.json")
    error = manifest["error"]
    assert (manifest["status"], error["stage"], error["message"]) == ("interrupted", stage, "SIGTERM")
    assert manifest["files"] is not None
    monkeypatch.undo()
    assert verify(tmp_path / "run") == []
    said = capsys.readouterr().err
    assert f"interrupted ({stage}): SIGTERM" in said
    assert f"to go on: python -m tunix_exp finish {tmp_path / 'run'}" in said


def test_a_picture_that_was_being_drawn_does_not_change_after_it_was_hashed(tmp_path, monkeypatch):
    from PIL import PngImagePlugin

    def cut(*_arguments, **_named):
        send(signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(PngImagePlugin.ImageFile, "_save", cut)
    assert run_toy(tmp_path / "run", "training.steps=7") == 130  # as many as no other run has drawn
    assert verify(tmp_path / "run") == []


def test_a_signal_before_the_claim_is_told_in_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(launch.checkout, "source_code", lambda *_: (send(signal.SIGHUP), time.sleep(5)))
    assert run_toy(tmp_path / "run") == 130
    assert not (tmp_path / "run" / "run_manifest.json").exists()
    assert capsys.readouterr().err == "interrupted (SIGHUP); no run was under way\n"


def test_a_signal_during_the_claim_finds_the_run_claimed_and_interrupted(tmp_path, monkeypatch):
    original = launch.RunDirectory.claim

    def claim(*arguments, **named):
        claimed = original(*arguments, **named)
        send(signal.SIGTERM)
        return claimed

    monkeypatch.setattr(launch.RunDirectory, "claim", claim)
    assert run_toy(tmp_path / "run") == 130
    assert read_json(tmp_path / "run" / "run_manifest.json")["status"] == "interrupted"
    assert verify(tmp_path / "run") == []


def test_what_fails_because_of_the_stop_is_interrupted_not_failed(tmp_path, monkeypatch):
    def wrapped(*_, **__):
        try:
            send(signal.SIGTERM)
            time.sleep(5)
        except BaseException as error:
            raise RuntimeError("a library's own words") from error

    monkeypatch.setattr(import_module("tunix_exp.run"), "read_texts", wrapped)
    assert run_toy(tmp_path / "run") == 130
    assert read_json(tmp_path / "run" / "run_manifest.json")["status"] == "interrupted"


def test_a_signal_while_a_run_fails_leaves_it_failed(tmp_path, monkeypatch):
    original = launch._analysis
    monkeypatch.setattr(launch, "_analysis", lambda *a: (send(signal.SIGTERM), original(*a))[1])
    assert run_toy(tmp_path / "run", "data.source=./nothing.jsonl") == 1
    assert read_json(tmp_path / "run" / "run_manifest.json")["status"] == "failed"
    assert verify(tmp_path / "run") == []


def test_a_signal_after_the_seal_changes_nothing_any_more(tmp_path, monkeypatch):
    original = run_directory.RunDirectory.complete
    monkeypatch.setattr(
        run_directory.RunDirectory, "complete", lambda *a, **k: (original(*a, **k), send(signal.SIGTERM))
    )
    assert run_toy(tmp_path / "run", "mode=preflight") == 0
    assert read_json(tmp_path / "run" / "run_manifest.json")["status"] == "completed"
    assert verify(tmp_path / "run") == []


def test_a_signal_ends_the_sweep_with_the_job(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(launch, "_keep_code", lambda *_: (send(signal.SIGTERM), time.sleep(5)))
    assert cli.main(["-m", f"hydra.sweep.dir={tmp_path}", *TOY, "seed=0,1"]) == 130
    assert read_json(tmp_path / "0" / "run_manifest.json")["status"] == "interrupted"
    assert not (tmp_path / "1").exists()
    assert capfd.readouterr().err.endswith(f"\nto go on: python -m tunix_exp sweep resume {tmp_path}\n")
    assert cli.main(["finish", str(tmp_path / "0")]) == 2
    assert f"job of a sweep, which would not have what is done beside it\n  where: {tmp_path / '0'}\n" in (
        told := capfd.readouterr().err
    )
    assert f"remedy: python -m tunix_exp sweep resume {tmp_path}" in told


def test_a_signal_after_a_job_that_completed_ends_the_sweep_too(tmp_path, monkeypatch, capfd):
    original = run_directory.RunDirectory.complete
    monkeypatch.setattr(
        run_directory.RunDirectory, "complete", lambda *a, **k: (original(*a, **k), send(signal.SIGTERM))
    )
    assert cli.main(["-m", f"hydra.sweep.dir={tmp_path}", *TOY, "mode=preflight", "seed=0,1"]) == 130
    assert read_json(tmp_path / "0" / "run_manifest.json")["status"] == "completed"
    assert not (tmp_path / "1").exists()
    assert capfd.readouterr().err.endswith(f"\nto go on: python -m tunix_exp sweep resume {tmp_path}\n")
