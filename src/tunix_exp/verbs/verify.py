"""`python -m tunix_exp verify RUN|ARCHIVE…`: every disagreement by name, or `verified`, and what was odd."""

from collections.abc import Iterator
from pathlib import Path

from tunix_exp.errors import UserError
from tunix_exp.evidence.pack import inspect_pack, is_pack
from tunix_exp.evidence.verify import Inspection, inspect, runs_at
from tunix_exp.exits import COMPLETED, FAILED
from tunix_exp.numbers import counted


def main(words: list[str]) -> int:
    """Completed when nothing in any run under the paths disagrees; findings fail nothing."""
    if not words:
        raise UserError("verify needs a run directory", remedy="python -m tunix_exp verify outputs/NAME/DATE")
    faults = 0
    for word in words:
        for path, seen in _inspected(Path(word)):
            print(f"{path}: {_verdict(seen)}")
            for one in seen.disagreements:
                print(f"  {one.file}: {one.what}")
            for finding in seen.findings if not seen.disagreements else ():
                print(f"  finding: {finding.where}: {finding.sentence}")
            for note in seen.notes:
                print(f"  not checked: {note}")
            faults += len(seen.disagreements)
    return FAILED if faults else COMPLETED


def _inspected(path: Path) -> Iterator[tuple[Path, Inspection]]:
    """Every run at or below `path`, or the one in an archive.

    A folder in which Hydra started a job that never claimed it counts as a run, and disagrees.
    """
    if is_pack(path):
        yield path, inspect_pack(path)
    else:
        yield from ((run, inspect(run)) for run in runs_at(path))


def _verdict(seen: Inspection) -> str:
    """Whether it is verified, the status of a run that did not complete, and how much was odd."""
    if seen.disagreements or seen.manifest is None:
        return counted(len(seen.disagreements), "disagreement")
    status, count = seen.manifest.status, len(seen.findings)
    says = "verified" if status == "completed" else f"verified; its status is {status}"
    return f"{says}; {counted(count, 'finding')}" if count else says
