"""Which part of the run is under way, and how long each took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stages:
    """The stage that a failure is recorded under, and the seconds of those that ended."""

    def __init__(self, first: str) -> None:
        self.current = first
        self.times_s: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """`name` is under way; its seconds are kept when it ends well."""
        self.current = name
        start = time.perf_counter()
        yield
        self.times_s[name] = self.times_s.get(name, 0.0) + time.perf_counter() - start
