"""`python -m tunix_exp verify RUN|ARCHIVE…`: every disagreement by name, or `verified`, and what was odd."""

from collections.abc import Iterator
from pathlib import Path

from tunix_exp.errors import UserError
from tunix_exp.evidence import layout
from tunix_exp.evidence.manifest import RunManifest, parse_manifest
from tunix_exp.evidence.opened import Disagreement
from tunix_exp.evidence.pack import RUN, is_pack, opened, verify_pack
from tunix_exp.evidence.strict_json import read_text
from tunix_exp.evidence.verify import verify_tree
from tunix_exp.exits import COMPLETED, FAILED


def main(words: list[str]) -> int:
    """Completed when every run under the paths agrees with itself; findings fail nothing."""
    if not words:
        raise UserError("verify needs a run directory", remedy="python -m tunix_exp verify outputs/NAME/DATE")
    faults = 0
    for word in words:
        for run, manifest, disagreements in _verified(Path(word)):
            says = _verdict(manifest) if manifest else f"{len(disagreements)} disagreements"
            print(f"{run}: {says}")
            for disagreement in disagreements:
                print(f"  {disagreement.file}: {disagreement.what}")
            for finding in (manifest.findings or ()) if manifest else ():
                print(f"  finding: {finding.where}: {finding.sentence}")
            faults += len(disagreements)
    return FAILED if faults else COMPLETED


def _verified(path: Path) -> Iterator[tuple[Path, RunManifest | None, list[Disagreement]]]:
    """Every run at `path`, with its manifest where it holds, and what disagrees."""
    if is_pack(path):
        with opened(path) as folder:
            found = verify_pack(folder)
            yield path, None if found else _manifest(folder / RUN), found
        return
    for run, found in verify_tree(path).items():
        yield run, None if found else _manifest(run), found


def _manifest(run: Path) -> RunManifest:
    return parse_manifest(read_text(run / layout.MANIFEST, file=layout.MANIFEST))


def _verdict(manifest: RunManifest) -> str:
    """That the evidence holds, what it is evidence of where the run did not complete, and what was odd."""
    says = "verified" if manifest.status == "completed" else f"verified; its status is {manifest.status}"
    count = len(manifest.findings or ())
    return f"{says}; {count} finding{'s' * (count > 1)}" if count else says
