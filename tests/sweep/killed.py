"""Sweeps killed with SIGKILL at a seeded moment and gone on with, against the sweep that was never killed."""

import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.forking import Forked
from tests.running import TOY, bits, read_json
from tunix_exp.evidence.verify import verify

WORDS = (*TOY, "training.save_every_steps=2", "optim.peak_lr=1e-3,3e-3", "seed=0,1")
JOBS = 4
FILES = ("summary.json", "summary.csv", "summary.md")
# Seconds in which a sweep of these jobs is under way, from its start to a little before its end.
WINDOW_S = (0.3, 7.0)


def sweep(root: Path) -> Forked:
    """The sweep under way in `root`."""
    return Forked("-m", *WORDS, f"hydra.sweep.dir={root}")


def resume(root: Path) -> Forked:
    """What goes on with it, or begins it where nothing had begun."""
    return Forked("sweep", "resume", str(root)) if (root / "sweep.json").is_file() else sweep(root)


def killed(process: Forked, seconds: float) -> bool:
    """Whether the process was still there to be killed so many seconds from now."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    return process.wait() < 0


def but_for_times(root: Path, name: str) -> str:
    """A file of the summary without the seconds that jobs took."""
    text = (root / name).read_text(encoding="utf-8")
    if name.endswith(".md"):
        text = text.partition("\n")[2]  # the sweep's own name
    text = re.sub(r'("elapsed_s": )[\d.e-]+', r"\1", text)
    if name.endswith(".csv"):
        rows = [line.split(",") for line in text.splitlines()]
        place = rows[0].index("elapsed_s")
        text = "\n".join(",".join(row[:place] + row[place + 1 :]) for row in rows)
    return re.sub(r"\d+\.\d s \|", "|", text)


def unlike(whole: Path, root: Path) -> Iterator[str]:
    """In what the sweep in `root` differs from the one that was never killed."""
    yield from (
        f"{name} differs" for name in FILES if but_for_times(whole, name) != but_for_times(root, name)
    )
    for number in map(str, range(JOBS)):
        yield from (f"{number}: {one.file}: {one.what}" for one in verify(root / number))
        one, other = bits(whole / number), bits(root / number)
        yield from (f"{number}: {key}" for key in one if key != "metrics" and one[key] != other[key])


def outcomes(place: Path, whole: Path, *, seed: int, count: int) -> Iterator[tuple[str, list[str]]]:
    """So many sweeps that were killed, one in three of them twice: when, and what was wrong at the end."""
    draw, number = random.Random(seed), 0
    while number < count:
        root, moment, second = place / f"killed-{number}", draw.uniform(*WINDOW_S), draw.uniform(*WINDOW_S)
        twice = draw.random() < 1 / 3
        if not killed(sweep(root), moment):
            continue  # it had ended
        number += 1
        kills = 1 + (twice and killed(resume(root), second))
        last = resume(root)
        faults = [] if last.wait() == 0 else [f"exit {last.returncode}: {last.said[-600:]}"]
        again = len(list((root / "attempts").glob("*"))) if (root / "attempts").is_dir() else 0
        told = f"killed after {moment:.2f} s ({kills} kills, {again} attempts put aside)"
        yield told, faults or list(unlike(whole, root))


def claimed_once(root: Path) -> bool:
    """Whether every job was run in one attempt, and completed."""
    names = sorted(path.name for path in (root / "claims").iterdir())
    statuses = [job["status"] for job in read_json(root / "summary.json")["jobs"]]
    return names == [f"{number}.1.json" for number in range(JOBS)] and statuses == ["completed"] * JOBS
