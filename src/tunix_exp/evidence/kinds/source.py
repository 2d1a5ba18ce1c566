"""`source.patch` and `uv.lock`: the code's difference from its commit, and the locked packages."""

from tunix_exp.evidence.kinds.kind import Found, Kind, at_times
from tunix_exp.evidence.opened import OpenedRun


def _patch(run: OpenedRun) -> Found:
    """The patch is the one that the manifest has the hash of."""
    return _recorded(run, PATCH, "git_diff_sha256")


def _lock(run: OpenedRun) -> Found:
    """The lock is the one that the manifest has the hash of."""
    return _recorded(run, LOCK, "lock_sha256")


def _recorded(run: OpenedRun, kind: Kind, key: str) -> Found:
    digest = getattr(run.manifest.code, key)
    if not run.has(kind.path):
        # a run may fail because the patch is too large to keep
        if digest is not None and run.status == "completed":
            yield f"is missing: the manifest has its hash in `code.{key}`"
    elif digest != run.digests[kind.path]:
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
