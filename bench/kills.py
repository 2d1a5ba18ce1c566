"""The program killed at seeded moments and gone on from: how many end with the bits of the run never killed.

uv run python bench/kills.py --before 20 --after 20     # of the last step's checkpoint; one line a kill
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.killing import finish, outcomes


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--before", type=int, default=20)
    words.add_argument("--after", type=int, default=20)
    words.add_argument("--seed", type=int, default=0)
    chosen = words.parse_args()
    good, begun_s = 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(place / "programs")}
        whole = place / "whole"
        said = finish(whole)
        assert said is None, said
        for one in outcomes(
            place / "killed", whole, seed=chosen.seed, before=chosen.before, after=chosen.after
        ):
            good += not one.faults
            side = "after" if one.is_after_last_step else "before"
            end = "; ".join(one.faults) or "the same bits"
            print(f"{side:6} {one.moment} ({one.kills} kills; {one.stood}): {end}", flush=True)
    asked = chosen.before + chosen.after
    print(f"{good} of {asked} end with the bits of the run never killed; {time.monotonic() - begun_s:.0f} s")
    return 0 if good == asked else 1


if __name__ == "__main__":
    sys.exit(main())
