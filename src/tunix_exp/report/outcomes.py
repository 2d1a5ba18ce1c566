"""How the runs of one directory ended, a row each: what a sweep prints last."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunix_exp.errors import UserError
from tunix_exp.evidence.kinds.composed import overrides_of
from tunix_exp.evidence.manifest import RunManifest, read_manifest
from tunix_exp.evidence.verify import runs_below
from tunix_exp.report.readme import summary_of
from tunix_exp.report.result import result_line

NO_MANIFEST = "no manifest"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: its folder, what its command overrode, its status, its result or error, and its verdict."""

    run: str
    overrides: tuple[str, ...]
    status: str
    says: str
    is_regressed: bool


def outcomes(directory: Path) -> list[Outcome]:
    """How every run at or below `directory` ended, in order of their numbers.

    A job that Hydra began and that never claimed its directory has the status `no manifest`.
    """
    rows = [outcome(run, run.relative_to(directory).as_posix()) for run in runs_below(directory)]
    # job 10 after job 9, not after job 1
    return sorted(rows, key=lambda row: (len(row.run), row.run))


def table(rows: Sequence[Outcome]) -> str:
    """The rows as aligned text under a heading; overrides that all rows share are left out."""
    shared = set.intersection(*(set(row.overrides) for row in rows)) if len(rows) > 1 else set()
    cells = [("run", "overrides", "status", "result")]
    for row in rows:
        own = " ".join(word for word in row.overrides if word not in shared)
        cells.append((row.run, own, row.status + ", regressed" * row.is_regressed, row.says))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)
    return "\n".join(lines)


def outcome(run: Path, name: str) -> Outcome:
    """How the run in folder `run` ended, under `name`."""
    is_regressed = False
    try:
        manifest = read_manifest(run)
        status, says, is_regressed = manifest.status, _says(manifest, run), manifest.verdict == "regressed"
    except FileNotFoundError:
        status, says = NO_MANIFEST, "the job ended before its run started"
    except UserError as error:
        status, says = "unreadable", " ".join(error.what.split())
    return Outcome(name, overrides_of(run), status, says, is_regressed)


def _says(manifest: RunManifest, run: Path) -> str:
    if manifest.error is not None:
        return f"{manifest.error.stage}: {' '.join(manifest.error.message.split())}"
    summary = summary_of(run)
    return "" if summary is None else result_line(summary)
