"""The files of a run with their hashes, as far as they are final while the page itself is being written."""

from dataclasses import dataclass
from pathlib import Path

from tunix_exp.evidence import layout
from tunix_exp.evidence.kinds.pages import REPORT
from tunix_exp.numbers import size
from tunix_exp.report.facts import STRANGER
from tunix_exp.report.readme import of_kinds


@dataclass(frozen=True, slots=True)
class File:
    """A file or folder of the run; `sha256` and `size` are empty where the manifest alone has them."""

    name: str
    holds: str
    size: str
    sha256: str


def files(run: Path) -> list[File]:
    """What lies in `run`, in the order of importance; the same before and after the run's last step."""
    present = {layout.MANIFEST, layout.SUMS, REPORT.path, *layout.files_of(run)}
    known, strangers = of_kinds(present, run)
    found: list[File] = []
    for kind, names in known.items():
        if kind.is_open:
            # still written to, or too large to be read twice: the manifest has the hashes
            found.append(File(kind.path, kind.holds, "", ""))
        else:
            # the files of a folder are described together, at the first
            found += [_file(run, name, kind.holds if name == names[0] else "") for name in names]
    return found + [_file(run, name, STRANGER) for name in strangers]


def _file(run: Path, name: str, holds: str) -> File:
    path = run / name
    return File(name, holds, size(path.stat().st_size), layout.file_digest(path))
