"""How each job of a sweep stands: missing, running, interrupted, failed, completed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tunix_exp.evidence.kinds.composed import overrides_of, sweep_of
from tunix_exp.evidence.verify import runs_below
from tunix_exp.sweep import claims, ledger
from tunix_exp.sweep.claims import Claim, Process
from tunix_exp.sweep.job import EARLIER, NO_MANIFEST, Job, read_job, settings_of
from tunix_exp.sweep.ledger import Ledger, PlannedJob


@dataclass(frozen=True, slots=True)
class Standing:
    """A planned job, how many attempts there were, who holds the newest, and what it left."""

    planned: PlannedJob
    attempts: int
    holder: Process | None
    job: Job

    @property
    def is_due(self) -> bool:
        """Whether it has to be run, and nobody does."""
        return self.job.status != "completed" and self.holder is None


def standings(root: Path, known: Ledger | None = None, *, is_over: bool = False) -> list[Standing]:
    """Every job of the sweep in `root` as it stands now; `is_over` where this process runs none any more."""
    held = claims.newest(root)
    planned = (ledger.read(root) if known is None else known).jobs
    return [_standing(root, job, held.get(job.number), is_over=is_over) for job in planned]


def found_jobs(root: Path, *, is_over: bool = False) -> list[Job]:
    """The jobs of the sweep in `root`; where its sweeper kept no ledger, those whose runs lie there."""
    if ledger.has_one(root):
        return [one.job for one in standings(root, is_over=is_over)]
    names = sorted((run.relative_to(root).as_posix() for run in runs_below(root)), key=lambda n: (len(n), n))
    return [
        read_job(number, settings_of(overrides_of(root / name)), root, name)
        for number, name in enumerate(names)
    ]


def earlier(root: Path, number: int) -> Iterator[Path]:
    """The directories of the earlier attempts at a job, the newest first."""
    places = [path for path in (root / EARLIER).glob(f"{number}.*") if path.suffix[1:].isdigit()]
    yield from sorted(places, key=lambda path: -int(path.suffix[1:]))


def jobs_beside(run: Path) -> tuple[Path, ...]:
    """The directories of the sweep's other jobs, where the run is a job of a sweep with a ledger."""
    root = sweep_of(run)
    if root is None or not ledger.has_one(root):
        return ()
    places = [root / job.directory for job in ledger.read(root).jobs]
    return tuple(place for place in places if place != run.resolve())


def _standing(root: Path, planned: PlannedJob, claim: Claim | None, *, is_over: bool) -> Standing:
    settings = settings_of(planned.words)
    if claim is None:
        return Standing(planned, 0, None, Job(planned.number, settings, None, "missing"))
    job = read_job(planned.number, settings, root, planned.directory)
    holder = claim.other_holder if is_over else claim.holder
    if holder is not None and holder.is_elsewhere and job.status in ("failed", "interrupted"):
        holder = None  # its run says that it has ended
    if job.status in (NO_MANIFEST, "running"):
        # a process that was killed says nothing of it
        left = "missing" if job.status == NO_MANIFEST else "interrupted"
        status = left if holder is None else "running"
        job = replace(job, status=status, error=None)
    return Standing(planned, claim.attempt, holder, job)
