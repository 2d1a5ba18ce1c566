import ctypes
import gc
import mmap
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
            return int(statm.read().split()[1]) * mmap.PAGESIZE // 1024

    pieces = [bytes(50_000) for _ in range(4_000)]  # 200 MB, each too small for a mapping of its own
    last = bytes(50_000)  # holds the heap's end
    del pieces
    held = resident_kib()
    host_memory.give_back()
    assert held - resident_kib() > 100_000
    assert last


def huge_kib(address):
    """What the kernel says of the mapping at `address`."""
    with open("/proc/self/smaps") as smaps:
        found = False
        for line in smaps:
            words = line.split()
            if "-" in words[0] and not words[0].endswith(":"):
                begin, end = (int(word, 16) for word in words[0].split("-"))
                found = begin <= address < end
            elif found and words[0] == "AnonHugePages:":
                return int(words[1])
    raise AssertionError(f"nothing lies at {address:x}")


def written(n_bytes):
    """A mapping that asks for huge pages, written once, and the address of its middle."""
    mapping = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        mapping.madvise(mmap.MADV_HUGEPAGE)
    except OSError:
        pytest.skip("this kernel was built without huge pages")
    mapping[:] = b"x" * n_bytes
    return mapping, ctypes.addressof(ctypes.c_char.from_buffer(mapping, n_bytes // 2))


@linux
def test_small_pages_are_small_and_huge_ones_come_back():
    with host_memory.small_pages():
        mapping, address = written(2**24)
        assert huge_kib(address) == 0
    later, after = written(2**24)
    if huge_kib(after) == 0:
        pytest.skip("this machine has no huge pages for anybody")
    assert mapping[0] == later[0] == ord("x")


@linux
def test_who_has_switched_huge_pages_off_keeps_them_off():
    switch = ctypes.CDLL(None).prctl
    switch(host_memory._WITHOUT_HUGE_PAGES, 1, 0, 0, 0)
    try:
        with host_memory.small_pages():
            pass
        assert switch(host_memory._IS_WITHOUT_HUGE_PAGES, 0, 0, 0, 0) == 1
    finally:
        switch(host_memory._WITHOUT_HUGE_PAGES, 0, 0, 0, 0)


def test_the_search_for_garbage_is_as_it_was_after_a_block_without_it():
    assert gc.isenabled()
    with host_memory.no_garbage_sought():
        assert not gc.isenabled()
    assert gc.isenabled()
