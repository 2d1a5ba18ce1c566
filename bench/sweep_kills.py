"""A sweep killed at seeded moments and gone on with: how many end like the sweep that was never killed.

uv run python bench/sweep_kills.py --count 20     # one line a sweep
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.sweep.killed import outcomes, sweep


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--count", type=int, default=20)
    words.add_argument("--seed", type=int, default=0)
    chosen = words.parse_args()
    good, begun_s = 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(place / "programs")}
        whole = sweep(place / "never")
        assert whole.wait() == 0, whole.said
        for told, faults in outcomes(place, place / "never", seed=chosen.seed, count=chosen.count):
            good += not faults
            print(f"{told}: {'; '.join(faults) or 'the same summary and bits'}", flush=True)
    seconds = time.monotonic() - begun_s
    print(f"{good} of {chosen.count} end like the sweep that was never killed; {seconds:.0f} s")
    return 0 if good == chosen.count else 1


if __name__ == "__main__":
    sys.exit(main())
