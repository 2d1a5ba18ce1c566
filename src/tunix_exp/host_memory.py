"""The host's memory: large pages for large arrays, and what a compilation leaves behind given back."""

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TUNABLES = "GLIBC_TUNABLES"
_HUGE_PAGES = "glibc.malloc.hugetlb=1"
# PR_SET_THP_DISABLE and PR_GET_THP_DISABLE of prctl(2)
_WITHOUT_HUGE_PAGES, _IS_WITHOUT_HUGE_PAGES = 41, 42


def ask_for_huge_pages() -> None:
    """The process begins again with an allocator that asks for huge pages; on Linux, once, and not over
    tunables that the user has set.

    A training step on CPU takes hundreds of megabytes and gives them back: with pages of 4 KiB the kernel's
    time to hand them out is a tenth of the step. The allocator reads its tunables at a process's start alone.
    """
    if sys.platform == "linux" and _TUNABLES not in os.environ:
        os.environ[_TUNABLES] = _HUGE_PAGES
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


@contextmanager
def no_garbage_sought() -> Iterator[None]:
    """Objects that refer to each other in a circle stay meanwhile: for work on many that do not.

    Python looks for such circles by the number of new objects, which is half of the time of going through
    millions of rows.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def small_pages() -> Iterator[None]:
    """What is written first meanwhile lies in pages of 4 KiB, where Linux has a say: for arrays that stay.

    They are written once, and small pages are at hand: a huge one is looked for, and under a virtual machine
    its host may have to give it again, which took 2 s a GB.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None
    if prctl is None or prctl(_IS_WITHOUT_HUGE_PAGES, 0, 0, 0, 0):
        yield
        return
    prctl(_WITHOUT_HUGE_PAGES, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_WITHOUT_HUGE_PAGES, 0, 0, 0, 0)


def give_back() -> None:
    """What was freed is the system's again, where the C library can: compilers free hundreds of megabytes."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)
