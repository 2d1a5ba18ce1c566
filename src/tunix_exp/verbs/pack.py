"""`python -m tunix_exp pack RUN [--out FILE] [--inputs] [--kaggle]`: a verified run as one archive."""

from pathlib import Path

from tunix_exp import references
from tunix_exp.evidence.pack import pack
from tunix_exp.evidence.verified import verified_run
from tunix_exp.exits import COMPLETED
from tunix_exp.replay.inputs import local_files, places_of
from tunix_exp.report.submission import submission_readme
from tunix_exp.verbs.words import Words


def main(words: list[str]) -> int:
    """Completed when the archive lies there; its hash is printed, and what a replay elsewhere needs."""
    parser = Words("pack", "Pack a run that verifies: the same bytes for the same run.")
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a .tar.gz, or a .tar")
    parser.add_argument("--inputs", action="store_true", help="with the data files that lie on this machine")
    parser.add_argument("--kaggle", action="store_true", help="with the README.md of a submission")
    said = parser.parse_args(words)
    run = verified_run(said.run)
    inputs = local_files(run) if said.inputs else {}
    packed = pack(run, said.out, inputs=inputs, readme=submission_readme(run.root) if said.kaggle else None)
    print(
        f"{packed.path}: {packed.n_files} files, {packed.size_bytes / 2**20:.1f} MiB\nsha256 {packed.sha256}"
    )
    for key in places_of(run):
        place = run.setting(key)
        is_local = isinstance(place, str) and isinstance(references.parse(place, key=key), references.Local)
        if is_local and key not in inputs:
            print(f"not in it: {key}={place}; a replay elsewhere is told where that lies: {key}=PATH")
    return COMPLETED
