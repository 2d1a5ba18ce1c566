"""`python -m tunix_exp verify RUN|ARCHIVE…`: every disagreement by name, or `verified`."""

from pathlib import Path

from tunix_exp.errors import UserError
from tunix_exp.evidence import layout
from tunix_exp.evidence.manifest import parse_manifest
from tunix_exp.evidence.pack import is_pack, verify_pack
from tunix_exp.evidence.strict_json import read_text
from tunix_exp.evidence.verify import verify_tree
from tunix_exp.exits import COMPLETED, FAILED


def main(words: list[str]) -> int:
    """Completed when every run under the paths agrees with itself."""
    if not words:
        raise UserError("verify needs a run directory", remedy="python -m tunix_exp verify outputs/NAME/DATE")
    faults = 0
    for word in words:
        path = Path(word)
        for run, disagreements in ({path: verify_pack(path)} if is_pack(path) else verify_tree(path)).items():
            print(f"{run}: {_verdict(run) if not disagreements else f'{len(disagreements)} disagreements'}")
            for disagreement in disagreements:
                print(f"  {disagreement.file}: {disagreement.what}")
            faults += len(disagreements)
    return FAILED if faults else COMPLETED


def _verdict(run: Path) -> str:
    """That the evidence holds, and of a run that did not complete, what it is evidence of."""
    manifest = run / layout.MANIFEST
    if not manifest.exists():  # an archive, or the folder of a sweep
        return "verified"
    status = parse_manifest(read_text(manifest, file=layout.MANIFEST)).status
    return "verified" if status == "completed" else f"verified; its status is {status}"
