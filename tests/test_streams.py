"""The console is not the run: what is printed may be lost or simplified, and whoever prints goes on."""

import io
import os
import subprocess
import sys
from importlib import metadata

import pytest

from tests.running import TOY, read_json, run_toy
from tunix_exp import streams
from tunix_exp.evidence.verify import verify


@pytest.fixture(autouse=True)
def nothing_is_lost_yet(monkeypatch):
    monkeypatch.setattr(streams, "_lost", {})


class Failing(io.StringIO):
    """A stream that fails, from the first text on or only when it is to hand on what it holds."""

    def __init__(self, error, *, at="write"):
        super().__init__()
        self.error, self.at = error, at

    def write(self, text):
        if self.at == "write":
            raise self.error
        return super().write(text)

    def flush(self):
        if self.at == "flush":
            raise self.error


LOSSES = [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space left on device"), OSError(5, "I/O error")]


@pytest.mark.parametrize("at", ["write", "flush"])
@pytest.mark.parametrize("error", LOSSES, ids=lambda error: error.strerror)
def test_a_stream_that_fails_is_given_up_once_and_says_why(monkeypatch, error, at):
    monkeypatch.setattr(sys, "stdout", Failing(error, at=at))
    monkeypatch.setattr(sys, "stderr", told := io.StringIO())
    with streams.kept():
        for _ in range(3):
            print("text", flush=True)
    assert streams.losses() == {"stdout": error.strerror}
    # a reader that went away has read enough
    said = "" if isinstance(error, BrokenPipeError) else f"stdout is lost: {error.strerror}\n"
    assert told.getvalue() == said


def test_a_stream_that_was_closed_is_given_up(monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    monkeypatch.setattr(sys, "stderr", None)
    with streams.kept():
        print("text")
        print("text", file=sys.stderr)
    assert set(streams.losses()) == {"stdout", "stderr"}


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", "a -> b... 1x2 gr\\xf6\\xdfer \\u540d \\U0001f600"),
        ("latin-1", "a -> b... 1×2 größer \\u540d \\U0001f600"),
    ],
)
def test_what_a_terminal_cannot_show_is_spelled_in_what_it_can(monkeypatch, encoding, shown):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, errors="strict"))
    with streams.kept():
        print("a → b… 1×2 größer 名 😀", end="")
    assert raw.getvalue().decode(encoding) == shown
    assert streams.losses() == {}


def test_a_name_that_is_no_unicode_is_spelled_too(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="utf-8", errors="strict"))
    with streams.kept():
        print(os.fsdecode(b"caf\xe9"), end="")
    assert raw.getvalue() == b"caf\\udce9"


def test_a_run_whose_console_is_lost_completes_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Failing(OSError(28, "No space left on device")))
    assert run_toy(tmp_path / "run", "mode=preflight") == 0
    manifest = read_json(tmp_path / "run" / "run_manifest.json")
    assert manifest["status"] == "completed"
    assert manifest["console_lost"] == {"stdout": "No space left on device"}
    log = (tmp_path / "run" / "training_log.txt").read_text()
    assert "the console is lost: stdout: No space left on device; the run goes on" in log
    assert "plan:" in log
    assert verify(tmp_path / "run") == []


def test_a_run_whose_console_holds_says_nothing_of_it_whatever_white_space_a_variable_has(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("XLA_PYTHON_CLIENT_ALLOCATOR", "default\n  \t")
    assert run_toy(tmp_path / "run", "mode=preflight") == 0
    assert verify(tmp_path / "run") == []
    assert read_json(tmp_path / "run" / "run_manifest.json")["console_lost"] is None


COMMAND = f"{sys.executable} -m tunix_exp"
PREFLIGHT = " ".join(f"'{word}'" for word in (*TOY, "mode=preflight"))


def shell(line, **environment):
    """Status, and what came back, of a line of bash whose first command's status is the whole's."""
    line = f"{line}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], env=os.environ | environment, capture_output=True, text=True, timeout=300
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("line", "lost"),
    [
        ("RUN | head -1", {"stdout"}),
        ("RUN > /dev/full 2>&1", {"stdout", "stderr"}),
        ("RUN >&- 2>&-", {"stdout", "stderr"}),
        ("PYTHONIOENCODING=ascii RUN", set()),
    ],
    ids=["reader gone", "disk full", "closed", "ascii"],
)
def test_the_console_of_a_process_may_go_and_the_run_completes(tmp_path, line, lost):
    command = f"{COMMAND} hydra.run.dir={tmp_path}/run {PREFLIGHT}"
    status, out, err = shell(line.replace("RUN", command))
    assert status == 0, err
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    manifest = read_json(tmp_path / "run" / "run_manifest.json")
    assert manifest["status"] == "completed"
    assert {"stdout"} & lost <= set(manifest["console_lost"] or ()) <= lost
    if not lost:
        assert "->" in out


@pytest.mark.parametrize("words", ["--help", "--cfg job", "verify ."])
def test_a_reader_that_goes_away_is_no_error_of_what_only_prints(tmp_path, words):
    status, _, err = shell(f"cd {tmp_path}; {COMMAND} {words} | true")
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    assert status == (2 if words == "verify ." else 0)


@pytest.mark.parametrize("words", ["--help", "verify x"])
def test_a_folder_that_is_gone_is_a_plain_error(tmp_path, words):
    status, _, err = shell(f"mkdir {tmp_path}/gone; cd {tmp_path}/gone; rmdir ../gone; {COMMAND} {words}")
    assert status == 2
    assert err.startswith("error: the folder in which this was typed is gone")
    assert "remedy: cd to a folder that is there" in err


def test_the_version_is_this_package_s():
    status, out, _ = shell(f"{COMMAND} --version")
    assert status == 0
    assert out.startswith(f"tunix_exp {metadata.version('tunix-exp')} (jax {metadata.version('jax')}, flax ")
    assert len(out.splitlines()) == 1
