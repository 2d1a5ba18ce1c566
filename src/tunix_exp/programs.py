"""The compiled programs of a process, of which the jobs of a sweep share what they can.

A program takes memory mappings, a process has a limited number of those (65,530 on Linux), and the compiler
aborts when none is left: a long sweep over architectures would meet that.
"""

import gc
import sys
from pathlib import Path

_MAPPINGS = Path("/proc/self/maps")
_MOST_MAPPINGS = Path("/proc/sys/vm/max_map_count")


def forget_programs_when_many() -> bool:
    """Whether the programs took half of the mappings that there are, and were all cleared therefore."""
    if not (_MAPPINGS.exists() and _MOST_MAPPINGS.exists()):
        return False
    with _MAPPINGS.open("rb") as lines:
        taken = sum(1 for _ in lines)
    if taken < int(_MOST_MAPPINGS.read_text()) // 2:
        return False
    forget_programs()
    return True


def forget_programs() -> None:
    """The caches of this package and of JAX are empty; what is asked for next is compiled."""
    for name in [name for name in sys.modules if name.startswith("tunix_exp.")]:
        for value in list(vars(sys.modules[name]).values()):
            if hasattr(value, "cache_clear"):
                value.cache_clear()
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
    gc.collect()
