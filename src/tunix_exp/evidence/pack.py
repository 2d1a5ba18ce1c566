"""A run as one archive: the same bytes for the same run, every file listed with its hash, safe to open.

NAME-RUN_ID/PACK.json    what lies in it, by sha256, and the code that the run came from
NAME-RUN_ID/run/         the run directory as it is
NAME-RUN_ID/inputs/      what the run read from this machine, where it was packed too
NAME-RUN_ID/README.md    of a submission
"""

import gzip
import hashlib
import io
import os
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import ValidationError

from tunix_exp.errors import UserError
from tunix_exp.evidence import layout
from tunix_exp.evidence.kinds import source
from tunix_exp.evidence.manifest import RunManifest
from tunix_exp.evidence.sections import Code, Sha256, Status, Word
from tunix_exp.evidence.strict_json import json_text, read_text
from tunix_exp.evidence.unpack import unpack
from tunix_exp.evidence.verified import VerifiedRun
from tunix_exp.evidence.verify import Disagreement, Inspection, inspect
from tunix_exp.schema import Config

LISTING = "PACK.json"
RUN, INPUTS, README = "run", "inputs", "README.md"
_PACKED_KEY = re.compile(r"data\.source|data\.mix\.[A-Za-z0-9_-]+\.source|eval\.source")
SUFFIXES = (".tar.gz", ".tar")


class Listing(Config):
    """The whole of `PACK.json`: which run, by which code, and the sha256 of every other file.

    `patch` and `lock` are where the archive has what `code` has the hashes of; `inputs` go by config keys.
    """

    format: Literal[1]
    run_id: Word
    name: Word
    status: Status
    code: Code
    patch: Word | None
    lock: Word | None
    inputs: dict[str, Word]
    files: dict[str, Sha256]


@dataclass(frozen=True, slots=True)
class Packed:
    """An archive that was written."""

    path: Path
    sha256: str
    n_files: int
    size_bytes: int


def stem(manifest: RunManifest) -> str:
    """The name of a run's archive: the same wherever the run lies."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", f"{manifest.name}-{manifest.run_id}")


def pack(run: VerifiedRun, out: Path | None, *, inputs: Mapping[str, Path], readme: str | None) -> Packed:
    """The archive `out` holds the run, `inputs` by their config keys, and `readme`.

    A `.tar.gz` has the same bytes wherever zlib packs alike, a `.tar` has them everywhere.
    """
    manifest = run.manifest
    target = Path(f"{stem(manifest)}{SUFFIXES[0]}") if out is None else out
    if not target.name.endswith(SUFFIXES):
        raise UserError(
            f"`{target}` is neither .tar.gz nor .tar", where="--out", remedy="name it as one of these"
        )
    if target.resolve().is_relative_to(run.root.resolve()):
        raise UserError(
            f"`{target}` lies in the run, which would not verify any more",
            where="--out",
            remedy="name a place outside of it",
        )
    # a run that a failing disk ended has no seal
    ends = [name for name in (layout.MANIFEST, layout.SUMS) if (run.root / name).exists()]
    contents: dict[str, Path | bytes] = {
        f"{RUN}/{name}": run.root / name for name in [*layout.files_of(run.root), *ends]
    }
    places = {key: f"{INPUTS}/{key}/{path.name}" for key, path in inputs.items()}
    contents |= {places[key]: path for key, path in inputs.items()}
    contents |= {} if readme is None else {README: readme.encode("utf-8")}
    patch, lock = (
        name if name in contents else None
        for name in (f"{RUN}/{source.PATCH.path}", f"{RUN}/{source.LOCK.path}")
    )
    listing = Listing(
        format=1,
        run_id=manifest.run_id,
        name=manifest.name,
        status=manifest.status,
        code=manifest.code,
        patch=patch,
        lock=lock,
        inputs=dict(sorted(places.items())),
        files={name: _digest(contents[name]) for name in sorted(contents)},
    )
    contents[LISTING] = json_text(listing.model_dump(mode="json"), file=LISTING).encode("utf-8")
    _write(target, stem(manifest), contents)
    return Packed(target, layout.file_digest(target), len(contents), target.stat().st_size)


def is_packed_key(key: str) -> bool:
    """Whether the key names a file that a pack may hold."""
    return _PACKED_KEY.fullmatch(key) is not None


def is_pack(path: Path) -> bool:
    """Whether `path` is a file, which only an archive can be, or an archive's folder, unpacked."""
    return path.is_file() or (path / LISTING).is_file()


def inspect_pack(path: Path) -> Inspection:
    """What contradicts itself in an archive, or in its folder unpacked, and what is odd about its run."""
    with opened(path) as folder:
        listed, run = list(_listed(folder)), folder / RUN
        if not run.is_dir():
            missing = Disagreement(RUN, "is missing: there is no run in the archive")
            return Inspection(None, [*listed, missing], ())
        seen = inspect(run)
        found = [Disagreement(f"{RUN}/{one.file}", one.what) for one in seen.disagreements]
        return Inspection(seen.manifest, listed + found, seen.findings)


def packed_inputs(run: Path) -> dict[str, Path]:
    """The inputs that were packed with a run and lie beside it, by their config keys; none beside any other.

    What they hold is the replay's to check.
    """
    folder = run.resolve().parent
    if run.resolve().name != RUN or not (folder / LISTING).is_file():
        return {}
    listing = listing_of(folder)
    for key, name in listing.inputs.items():
        is_inside = name in listing.files and name.startswith(f"{INPUTS}/{key}/")
        if not is_packed_key(key) or not is_inside or ".." in PurePosixPath(name).parts:
            raise UserError(
                f"`{key}` is said to lie in `{name}`, where no input is packed",
                where=str(folder / LISTING),
                remedy="do not replay it; `python -m tunix_exp pack` did not make it",
            )
    return {key: folder / name for key, name in listing.inputs.items()}


def refuse_other_contents(folder: Path) -> None:
    """An unpacked archive holds what its listing says; a `UserError` when not. Other folders list nothing."""
    found = list(_listed(folder)) if (folder / LISTING).is_file() else []
    if found:
        raise UserError(
            "the archive is not as it was packed\n" + "\n".join(f"  {one.file}: {one.what}" for one in found),
            where=str(folder),
            remedy="take it from where it was made",
        )


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """The folder of an archive: `path` itself when it is unpacked, else a temporary one with its contents."""
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="tunix_exp-") as folder:
        yield unpack(path, Path(folder))


def listing_of(folder: Path) -> Listing:
    """What the unpacked archive says that it holds; a `UserError` where it says nothing that can be read."""
    try:
        return Listing.model_validate_json(read_text(folder / LISTING, file=LISTING))
    except (OSError, ValidationError) as error:
        raise UserError(
            f"{LISTING} is missing or does not say what an archive holds: {error}",
            where=str(folder),
            remedy="take the archive from where it was made",
        ) from error


def _listed(folder: Path) -> Iterator[Disagreement]:
    try:
        files = listing_of(folder).files
    except UserError as broken:
        yield Disagreement(LISTING, broken.what)
        return
    every = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    found = {name: layout.file_digest(path) for name, path in every.items() if name != LISTING}
    for name, what in layout.hash_differences(files, found, by=LISTING):
        yield Disagreement(name, what)


def _digest(content: Path | bytes) -> str:
    is_file = isinstance(content, Path)
    return layout.file_digest(content) if is_file else hashlib.sha256(content).hexdigest()


def _write(target: Path, top: str, contents: Mapping[str, Path | bytes]) -> None:
    """`target` holds the files in order of their names; it was not there, or held the same."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with (
            temporary.open("xb") as raw,
            _compressed(raw, target) as stream,
            tarfile.open(fileobj=stream, mode="w") as tar,
        ):
            for name, content in sorted(contents.items()):
                with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as stored:
                    member = _member(f"{top}/{name}", stored.seek(0, os.SEEK_END))
                    stored.seek(0)
                    tar.addfile(member, stored)
        if target.exists() and layout.file_digest(target) != layout.file_digest(temporary):
            raise UserError(
                "there is another file already", where=str(target), remedy="name another one with --out"
            )
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _compressed(raw: Any, target: Path) -> Any:
    if target.name.endswith(".tar"):
        return nullcontext(raw)
    return gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0)


def _member(name: str, size: int) -> tarfile.TarInfo:
    """An entry that says nothing of when, by whom and where it was packed."""
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, 0, 0o644
    return member
