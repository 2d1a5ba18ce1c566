"""Kill the program with SIGKILL at a seeded moment, go on from what it left, and compare the bits."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.running import TOY, bits, read_json, read_jsonl
from tunix_exp.evidence.verify import verify

# Steps to be killed between, and after them seconds of answers, an export and a report to be killed in.
WORDS = (
    *TOY, "training.steps=12", "training.save_every_steps=5", "training.keep_checkpoints=1",
    "training.log_every_steps=4", "eval.max_items=40", "eval.max_new_tokens=12",
    "eval.heldout_every_steps=3", "training.export=[hf]",
)  # fmt: skip
LAST_STEP = 12
LIMIT_S = 300.0


@dataclass(frozen=True)
class Timeline:
    """The seconds from a run's start to its last step's checkpoint, and to its end."""

    saved_s: float
    ended_s: float


@dataclass(frozen=True)
class Outcome:
    """One run that was killed: where it stood, what went on from it, and what was wrong at the end."""

    moment_s: float
    stood: str
    is_after_last_step: bool
    kills: int
    faults: tuple[str, ...]


def command(folder: Path, *words: str) -> list[str]:
    """The program as a process of its own, run in `folder`."""
    return [sys.executable, "-m", "tunix_exp", *WORDS, f"hydra.run.dir={folder}", *words]


def start(folder: Path, *words: str) -> "subprocess.Popen[bytes]":
    """The program under way; what it prints is nobody's."""
    return subprocess.Popen(command(folder, *words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def finish(folder: Path, *words: str) -> str | None:
    """Nothing where the program ends well, else the end of what it said."""
    done = subprocess.run(command(folder, *words), capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"exit {done.returncode}: {(done.stdout + done.stderr)[-800:]}"


def timeline(folder: Path) -> Timeline:
    """How long the run takes that is never killed; it lies in `folder` afterwards."""
    begun, saved_s = time.monotonic(), None
    process = start(folder)
    while process.poll() is None:
        if saved_s is None and is_saved(folder):
            saved_s = time.monotonic() - begun
        time.sleep(0.01)
    assert process.returncode == 0
    assert saved_s is not None
    return Timeline(saved_s, time.monotonic() - begun)


def is_saved(folder: Path) -> bool:
    """Whether the checkpoint of the last step is there."""
    return (folder / "checkpoints" / str(LAST_STEP)).is_dir()


def kill_after(seconds: float, folder: Path, *words: str, from_last_step: bool) -> bool:
    """The program is killed so many seconds after its start, or after its last step's checkpoint.

    Returns whether there was anything to kill.
    """
    process = start(folder, *words)
    until = time.monotonic() + LIMIT_S
    while from_last_step and not is_saved(folder) and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.005)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    return process.wait() < 0


def stands(folder: Path) -> str:
    """How far the run in `folder` came, in a word or two."""
    if not (folder / "run_manifest.json").exists():
        return "no manifest"
    saved = sorted(int(p.name) for p in (folder / "checkpoints").glob("*") if p.name.isdigit())
    last = [name for name in LANDMARKS if (folder / name).exists()]
    return f"step {saved[-1] if saved else 0}, {last[-1] if last else 'before the plan'}"


LANDMARKS = (
    "data_card.json", "plan.json", "predictions/base.jsonl", "metrics.jsonl", "predictions/trained.jsonl",
    "eval_summary.json", "export/hf/config.json", "export/hf/README.md", "curves.png", "README.md",
    "report.html", "SHA256SUMS",
)  # fmt: skip


def outcomes(
    place: Path, whole: Path, seconds: Timeline, *, seed: int, before: int, after: int
) -> Iterator[Outcome]:
    """So many runs that were killed before their last step's checkpoint, and so many after it.

    Each is gone on from by its name or by `auto`, and one in three of these is killed as well.
    """
    draw = random.Random(seed)
    wanted = {False: before, True: after}
    number = 0
    while any(wanted.values()):
        number += 1
        late = wanted[True] >= wanted[False]
        span = seconds.ended_s - seconds.saved_s if late else seconds.saved_s
        moment_s = draw.random() * span
        beside, twice, by_name = place / f"{number}", draw.random() < 1 / 3, draw.random() < 0.5
        second_s = draw.random() * seconds.ended_s
        if not kill_after(moment_s, beside / "1", from_last_step=late):
            continue  # it had ended
        is_after, stood = is_saved(beside / "1"), stands(beside / "1")
        if not wanted[is_after]:
            continue
        wanted[is_after] -= 1
        kills, attempt = 1, 2
        if twice:
            kill_after(second_s, beside / "2", _resume(beside, by_name), from_last_step=False)
            kills, attempt = 2, 3
            stood += f"; then {stands(beside / '2')}"
        said = finish(beside / str(attempt), _resume(beside, by_name))
        ended = _completed(beside)
        faults = [said] if said is not None else list(unlike(whole, ended)) if ended else ["none completed"]
        yield Outcome(round(moment_s, 3), stood, is_after, kills, tuple(faults))


def _resume(beside: Path, by_name: bool) -> str:
    """By the name of the newest run where there is a checkpoint to name, else `auto`."""
    runs = sorted(beside.iterdir(), key=lambda run: int(run.name))
    named = [run for run in runs if (run / "run_manifest.json").exists()]
    has_saved = any(p.name.isdigit() for run in named for p in (run / "checkpoints").glob("*"))
    return f"training.resume={named[-1]}" if by_name and has_saved else "training.resume=auto"


def _completed(beside: Path) -> Path | None:
    for run in beside.iterdir():
        file = run / "run_manifest.json"
        if file.exists() and file.read_bytes() and read_json(file)["status"] == "completed":
            return run
    return None


def unlike(whole: Path, resumed: Path) -> Iterator[str]:
    """In what `resumed` differs from the run that was never killed, in all that it did itself."""
    yield from (f"{one.file}: {one.what}" for one in verify(resumed))
    parent = read_json(resumed / "run_manifest.json")["resumed_from"]
    after = 0 if parent is None else parent["step"]
    due, found = bits(whole), bits(resumed)
    due["metrics"] = [row for row in due["metrics"] if row["step"] > after]
    due["held-out"] = [row for row in _held_out(whole) if row["step"] >= max(after, 1)]
    found["held-out"] = _held_out(resumed)
    for name in ("heldout/base.jsonl", "heldout/trained.jsonl", "export/hf/model.safetensors"):
        due[name], found[name] = ((run / name).read_bytes() for run in (whole, resumed))
    yield from (f"{key} differs" for key in due if due[key] != found[key])


def _held_out(run: Path) -> list[Any]:
    file = run / "heldout.jsonl"
    return read_jsonl(file) if file.exists() else []
