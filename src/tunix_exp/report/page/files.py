"""The files of a run with their hashes, as far as they are final while the page itself is being written."""

from dataclasses import dataclass
from pathlib import Path

from tunix_exp.evidence import layout
from tunix_exp.report.page.numbers import size
from tunix_exp.report.tables import FILES, entry

# Still written to when the page is drawn, or too large to be read twice: the manifest has their hashes.
_OPEN = (
    layout.MANIFEST,
    layout.SUMS,
    layout.LOG,
    layout.REPORT,
    layout.TENSORBOARD,
    layout.CHECKPOINTS,
)


@dataclass(frozen=True, slots=True)
class File:
    """A file or folder of the run; `sha256` and `size` are empty where the manifest alone has them."""

    name: str
    holds: str
    size: str
    sha256: str


def files(run: Path) -> list[File]:
    """What lies in `run`, in the order of importance; the same before and after the run's last step."""
    present = {layout.MANIFEST, layout.SUMS, layout.REPORT, *layout.files_of(run)}
    known = list(FILES)
    order = sorted(present, key=lambda name: (_rank(entry(name), known), name))
    found: dict[str, File] = {}
    described = set()
    for name in order:
        shown = next((folder for folder in _OPEN if folder.endswith("/") and name.startswith(folder)), name)
        if shown not in found:
            # the files of a folder are described together, at the first
            found[shown] = _file(run, shown, is_described=entry(name) not in described)
            described.add(entry(name))
    return list(found.values())


def _file(run: Path, name: str, *, is_described: bool) -> File:
    holds = ""
    if is_described:
        is_known = entry(name) in FILES
        holds = FILES[entry(name)] if is_known else "not made by this version"
    if name in _OPEN:
        return File(name, holds, "", "")
    path = run / name
    return File(name, holds, size(path.stat().st_size), layout.file_digest(path))


def _rank(name: str, known: list[str]) -> int:
    return known.index(name) if name in known else len(known)
