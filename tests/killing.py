"""Kill the program with SIGKILL at a seeded moment, go on from what it left, and compare the bits."""

import itertools
import random
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.forking import Forked
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


# A moment is so many seconds at most after the run has left a file: then a busy machine moves none.
STARTS = (("", 3.0),)
EARLY = (
    ("data_card.json", 0.5), ("plan.json", 1.0), ("predictions/base.jsonl", 0.3), ("metrics.jsonl", 0.1),
    ("checkpoints/5", 0.05), ("checkpoints/10", 0.03),
)  # fmt: skip
LATE = (
    (f"checkpoints/{LAST_STEP}", 0.5), ("predictions/trained.jsonl", 0.2), ("eval_summary.json", 0.1),
    ("export/hf/config.json", 0.1), ("export/hf/README.md", 0.5), ("curves.png", 0.1), ("report.html", 0.3),
    ("SHA256SUMS", 0.01),
)  # fmt: skip
LANDMARKS = (*(name for name, _ in EARLY if "/" not in name or "base" in name), *(name for name, _ in LATE))


@dataclass(frozen=True)
class Outcome:
    """One run that was killed: where it stood, what went on from it, and what was wrong at the end."""

    moment: str
    stood: str
    is_after_last_step: bool
    kills: int
    faults: tuple[str, ...]


def start(folder: Path, *words: str) -> Forked:
    """The program under way in `folder`."""
    return Forked(*WORDS, f"hydra.run.dir={folder}", *words)


def finish(folder: Path, *words: str) -> str | None:
    """Nothing where the program ends well, else the end of what it said."""
    process = start(folder, *words)
    status = process.wait()
    return None if status == 0 else f"exit {status}: {process.said[-800:]}"


def is_saved(folder: Path) -> bool:
    """Whether the checkpoint of the last step is there."""
    return (folder / "checkpoints" / str(LAST_STEP)).is_dir()


def kill_after(landmark: str, seconds: float, folder: Path, *words: str) -> bool:
    """The program is killed so many seconds after it left the file, or began; whether it was still there."""
    process = start(folder, *words)
    until = time.monotonic() + LIMIT_S
    while landmark and not (folder / landmark).exists() and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.002)
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


def outcomes(place: Path, whole: Path, *, seed: int, before: int, after: int) -> Iterator[Outcome]:
    """So many runs that were killed before their last step's checkpoint, and so many after it.

    Each is gone on from by its name or by `auto`, and one in three of these is killed as well.
    """
    draw = random.Random(seed)
    wanted = {False: before, True: after}
    for number in itertools.count(1):
        if not any(wanted.values()):
            return
        is_late = wanted[True] > wanted[False]
        landmark, most_s = draw.choice(LATE if is_late else STARTS + EARLY)
        delay_s, second_s = draw.random() * most_s, draw.random() * 4
        twice, by_name = draw.random() < 1 / 3, draw.random() < 0.5
        beside = place / f"{number}"
        beside.mkdir(parents=True)
        if not kill_after(landmark, delay_s, beside / "1"):
            continue  # it had ended
        is_after, stood = is_saved(beside / "1"), stands(beside / "1")
        if not wanted[is_after]:
            continue
        wanted[is_after] -= 1
        kills, said = 1, None
        if twice and kill_after("", second_s, beside / "2", _resume(beside, by_name)):
            kills, stood = 2, f"{stood}; then {stands(beside / '2')}"
        if not (beside / "2").exists() or kills == 2:
            said = finish(beside / "3", _resume(beside, by_name))
        ended = _completed(beside)
        faults = [said] if said is not None else list(unlike(whole, ended)) if ended else ["none completed"]
        moment = f"{delay_s:.2f} s after {landmark or 'the start'}"
        yield Outcome(moment, stood, is_after, kills, tuple(faults))


def _resume(beside: Path, by_name: bool) -> str:
    """By the name of the newest run that has a checkpoint, where there is one, else `auto`."""
    runs = sorted(beside.iterdir(), key=lambda run: int(run.name), reverse=True)
    saved = [run for run in runs if any(p.name.isdigit() for p in (run / "checkpoints").glob("*"))]
    return f"training.resume={saved[0]}" if by_name and saved else "training.resume=auto"


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
