"""`source.patch` and `uv.lock`: the code's difference from its commit, and the locked packages."""

import hashlib
from collections.abc import Collection

from tunix_exp.evidence.checkout import of_code
from tunix_exp.evidence.kinds.kind import Found, Kind, at_times
from tunix_exp.evidence.opened import OpenedRun


def _patch(run: OpenedRun) -> Found:
    """The patch is the one that the manifest has the hash of."""
    if not run.has(PATCH.path):
        yield from _recorded(run, PATCH, "git_diff_sha256", set())
        return
    whole = (run.root / PATCH.path).read_bytes()
    changes = of_code(whole)
    # earlier versions hashed the names of other untracked files too
    digests = {hashlib.sha256(part).hexdigest() if part else None for part in (whole, changes)}
    yield from _recorded(run, PATCH, "git_diff_sha256", digests)


def _lock(run: OpenedRun) -> Found:
    """The lock is the one that the manifest has the hash of."""
    yield from _recorded(run, LOCK, "lock_sha256", {run.digests[LOCK.path]} if run.has(LOCK.path) else set())


def _recorded(run: OpenedRun, kind: Kind, key: str, digests: Collection[str | None]) -> Found:
    digest = getattr(run.manifest.code, key)
    if not run.has(kind.path):
        # a run may fail because the patch is too large to keep
        if digest is not None and run.status == "completed":
            yield f"is missing: the manifest has its hash in `code.{key}`"
    elif digest not in digests:
        yield f"is not the file of `code.{key}` in the manifest"


PATCH = Kind(
    path="source.patch",
    name="patch",
    holds="the difference between the code and its commit",
    when=at_times,
    at_any_end=(_patch,),
)
LOCK = Kind(
    path="uv.lock",
    name="lock",
    holds="the locked package versions",
    when=at_times,
    at_any_end=(_lock,),
)
