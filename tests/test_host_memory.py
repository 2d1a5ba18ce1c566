import os
import subprocess
import sys

import pytest

from tunix_exp import host_memory

linux = pytest.mark.skipif(sys.platform != "linux", reason="other allocators have no such tunables")
BEGINS = (
    "from tunix_exp.host_memory import ask_for_huge_pages; print('begins', flush=True);"
    "ask_for_huge_pages(); import os, sys; print(os.environ['GLIBC_TUNABLES'], sys.argv[1:])"
)


def said(tunables: str | None) -> list[str]:
    environ = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    environ |= {} if tunables is None else {"GLIBC_TUNABLES": tunables}
    done = subprocess.run(
        [sys.executable, "-c", BEGINS, "a", "b=c d"], env=environ, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@linux
def test_a_process_begins_again_once_with_huge_pages_and_the_same_words():
    assert said(None) == ["begins", "begins", "glibc.malloc.hugetlb=1 ['a', 'b=c d']"]


@linux
def test_tunables_of_the_user_s_own_stand():
    assert said("glibc.malloc.check=0") == ["begins", "glibc.malloc.check=0 ['a', 'b=c d']"]


@linux
def test_freed_memory_is_given_back():
    def resident_kib():
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * 4

    pieces = [bytes(50_000) for _ in range(4_000)]  # 200 MB, each too small for a mapping of its own
    last = bytes(50_000)  # holds the heap's end
    del pieces
    held = resident_kib()
    host_memory.give_back()
    assert held - resident_kib() > 100_000
    assert last
