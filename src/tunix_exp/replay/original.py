"""The run that is repeated, and how far."""

from pathlib import Path

from tunix_exp.errors import UserError
from tunix_exp.evidence.kinds import metrics
from tunix_exp.evidence.kinds.read import read_lines
from tunix_exp.evidence.verified import VerifiedRun, verified_run


def open_original(path: Path) -> VerifiedRun:
    """The one run at or below `path`, verified; a `UserError` when it has no numbers to compare with."""
    run = verified_run(path)
    if run.manifest.status == "failed" or run.manifest.mode == "preflight":
        what = "failed" if run.manifest.status == "failed" else "was a preflight"
        raise UserError(
            f"the run {what}: there are no numbers to compare with",
            where=str(run.root),
            remedy="its command stands in run_manifest.json; to see it again, type that",
        )
    return run


def prefix(original: VerifiedRun, asked: int | None) -> int | None:
    """The step after which the replay stops; `None` when it runs to its end."""
    manifest = original.manifest
    is_whole = manifest.status == "completed"
    if is_whole and asked is None:
        return None
    rows = read_lines(metrics.KIND, original.root)
    if not rows:
        raise UserError(
            "the run took no training step",
            where=str(original.root),
            remedy="leave --steps away" if is_whole else "its command stands in run_manifest.json: type that",
        )
    before = 0 if manifest.resumed_from is None else manifest.resumed_from.step
    last: int = rows[-1]["step"]
    step = last if asked is None else asked
    if not before < step <= last:
        raise UserError(
            f"the run has the steps {before + 1} to {last}",
            where=f"--steps {asked}",
            remedy="name one of them, or leave --steps away",
        )
    reaches_end = is_whole or last == original.setting("training.steps")
    return None if step == last and reaches_end else step
