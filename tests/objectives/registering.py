"""Objectives of the tests, registered for a while beside those that are shipped."""

from collections.abc import Iterator
from contextlib import contextmanager

from tunix_exp.config import known_keys
from tunix_exp.objectives import registry


@contextmanager
def registered(*names: str) -> Iterator[None]:
    """The objectives of `tests/objectives/` with these names can be chosen."""
    registry.PACKAGES.update({name: f"tests.objectives.{name}" for name in names})
    known_keys.cache_clear()
    try:
        yield
    finally:
        for name in names:
            del registry.PACKAGES[name]
        known_keys.cache_clear()
