"""How a run ended: its status, and its result or its error."""

from dataclasses import dataclass
from pathlib import Path

from tunix_exp.errors import UserError
from tunix_exp.evidence.kinds.composed import overrides_of
from tunix_exp.evidence.manifest import RunManifest, read_manifest
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
