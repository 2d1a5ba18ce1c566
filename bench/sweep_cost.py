"""What the jobs of a sweep in one process cost: processor seconds, compilations, memory that is kept.

uv run python bench/sweep_cost.py --jobs 60     # smoke jobs; one JSON line
uv run python bench/sweep_cost.py --against     # nine jobs of the default experiment at a tenth of its steps,
                                                # and the same nine commands in processes of their own

Of the nine all find their programs in one compilation cache, which an earlier run has filled.
"""

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


RATES, SEEDS = ("1e-3", "3e-3", "1e-2"), ("0", "1", "2")
TENTH = ("device=cpu", "training.steps=40", "optim.warmup_steps=4")


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--jobs", type=int, default=60)
    words.add_argument("--against", action="store_true", help="nine jobs against nine processes")
    chosen = words.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"
    if chosen.against:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(against(Path(folder))))
        return 0
    from tunix_exp import cli
    from tunix_exp.report.sweep_files import SweepFiles

    own, write, after = psutil.Process(), SweepFiles.write, []

    def measured(files: SweepFiles, *, is_last: bool) -> object:
        written = write(files, is_last=is_last)
        if not is_last:
            after.append((time.process_time(), own.memory_info().rss))
        return written

    SweepFiles.write = measured
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "sweep"
        seeds = f"seed=range(0,{chosen.jobs})"
        status = cli.main(["-m", "mode=smoke", seeds, f"hydra.sweep.dir={place}"])
        runs = [place / str(number) / "run_manifest.json" for number in range(chosen.jobs)]
        compiles = [json.loads(run.read_text())["compiles"]["count"] for run in runs]
    tenth = min(9, chosen.jobs - 2)
    later_s = (after[-1][0] - after[tenth][0]) / (chosen.jobs - 1 - tenth)
    found = {
        "status": status,
        "jobs": chosen.jobs,
        "processor_s": round(after[-1][0] / chosen.jobs, 3),
        "processor_s_of_later_jobs": round(later_s, 3),
        "compiles": [compiles[0], sum(compiles[1:])],
        "rss_mib_after_the_tenth": after[tenth][1] >> 20,
        "rss_mib_at_the_end": after[-1][1] >> 20,
        "memory_ratio": round(after[-1][1] / after[tenth][1], 3),
    }
    print(json.dumps(found))
    return status


def against(folder: Path) -> dict[str, Any]:
    """Seconds of nine jobs in one process and of nine processes, and of each to its first step."""
    words = (*TENTH, f"device.compilation_cache={folder / 'programs'}")
    timed(*words, f"hydra.run.dir={folder / 'filling'}")
    alone, sweep = [], folder / "sweep"
    for number, (rate, seed) in enumerate(itertools.product(RATES, SEEDS)):
        place = f"hydra.run.dir={folder / 'alone' / str(number)}"
        alone.append(timed(*words, f"optim.peak_lr={rate}", f"seed={seed}", place))
    swept = [f"optim.peak_lr={','.join(RATES)}", f"seed={','.join(SEEDS)}", f"hydra.sweep.dir={sweep}"]
    together = timed("-m", *words, *swept)
    wall_s, processor_s = (sum(column) for column in zip(*alone, strict=True))
    jobs = [sweep / str(number) for number in range(len(alone))]
    return {
        "load": os.getloadavg(),
        "alone_s": [round(wall_s, 1), round(processor_s, 1)],
        "together_s": [round(one, 1) for one in together],
        "ratio": [round(together[0] / wall_s, 3), round(together[1] / processor_s, 3)],
        "to_first_step_s": [to_first_step_s(job) for job in jobs],
        "job_s": [round(read(job)["elapsed_s"], 2) for job in jobs],
        "stages_s": [{name: round(s, 2) for name, s in read(job)["times_s"].items()} for job in jobs],
    }


def timed(*words: str) -> tuple[float, float]:
    """The seconds of one command, by the clock and of the processors."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "tunix_exp", *words], check=True, stdout=subprocess.DEVNULL)
    passed_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return passed_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def read(run: Path) -> dict[str, Any]:
    """The run's manifest."""
    return json.loads((run / "run_manifest.json").read_text())


def to_first_step_s(run: Path) -> float:
    """The seconds from when the run had its directory to the end of its first step, as its log tells them."""
    lines = (run / "training_log.txt").read_text().splitlines()
    return next(float(line.split("s", 1)[0]) for line in lines if "s  step 1:" in line)


if __name__ == "__main__":
    sys.exit(main())
