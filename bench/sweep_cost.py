"""What the jobs of a sweep in one process cost: processor seconds, compilations, memory that is kept.

uv run python bench/sweep_cost.py --jobs 60     # one JSON line
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--jobs", type=int, default=60)
    chosen = words.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"
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


if __name__ == "__main__":
    sys.exit(main())
