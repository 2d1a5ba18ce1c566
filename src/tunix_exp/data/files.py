"""Where rows come from: a bundled set, files on this machine, the Hub; each opened strictly."""

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from tunix_exp import received, references
from tunix_exp.data.reading import arrow, json_array, json_lines, separated, text, whole
from tunix_exp.data.reading.part import Part, Seen, digest_of
from tunix_exp.errors import Interrupted, UserError, did_you_mean, nearest

_MOST_SHOWN = 10
_JSON = (".jsonl", ".ndjson", ".json")
_TABLES = {".csv": ",;\t", ".tsv": "\t", ".tab": "\t"}
_TEXTS = (".txt", ".md")
_TEXT_KINDS = (*_JSON, *_TABLES, *_TEXTS)
_ARROW_KINDS = (*arrow.PARQUET, *arrow.ARROW)
_KINDS = f"{', '.join((*_TEXT_KINDS, *_ARROW_KINDS))}; text may be packed as .gz or .zst"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ARRAY = re.compile(rb"\s*\[\s*[{\]]")


@dataclass(frozen=True, slots=True)
class Opened:
    """The files of a source, in order; their rows are read when they are gone through."""

    parts: tuple[Part, ...]
    revision: str | None = None


def open_source(source: str, where: str) -> Opened:
    """The files of `source`; `where` is the config key that errors name."""
    reference = references.parse(source, key=where)
    match reference:
        case references.Bundled(name):
            return _open_bundled(name, where)
        case references.Local(path):
            return _open_files(path, where)
        case references.Hub():
            return _open_hub(reference, source, where)
        case references.Random():
            raise UserError(
                "examples cannot be drawn at random", where=where, remedy="name a path, bundled:… or hub:…"
            )
        case references.HeldOutRows():
            raise references.no_place_of(where)


def digest(source: str, where: str) -> str:
    """The sha256 of the source's content, as the facts of its rows have it."""
    seen = [(part, Seen()) for part in open_source(source, where).parts]
    for part, each in seen:
        for _ in part.rows(each):
            pass
    return digest_of(seen)


def _open_bundled(name: str, where: str) -> Opened:
    known = bundled_names()
    if name not in known:
        raise UserError(
            f"no set named `{name}` is bundled{did_you_mean(nearest(name, known))}",
            where=where,
            remedy=f"bundled are: {', '.join(known)}",
        )
    file = resources.files("tunix_exp.data") / "bundled" / f"{name}.jsonl"
    return Opened((json_lines.part(file.read_bytes(), f"{name}.jsonl", name, where),))


def _open_files(path: Path, where: str) -> Opened:
    """One file, or all that a pattern names, in the order of their names."""
    try:
        paths = _matching(path, where)
        stems = _stems(paths)
        return Opened(tuple(_part(one, stem, where) for one, stem in zip(paths, stems, strict=True)))
    except OSError as error:
        raise UserError(
            f"`{path}` cannot be read: {error.strerror or error}",
            where=where,
            remedy="make the file readable",
        ) from error


def local_files(path: Path) -> list[Path]:
    """The files that a path or a pattern names; none where there are none."""
    if path.exists() or not glob.has_magic(str(path)):
        return [path] if path.is_file() else []
    return [Path(found) for found in sorted(glob.glob(str(path), recursive=True)) if Path(found).is_file()]


def _matching(path: Path, where: str) -> list[Path]:
    if path.is_dir():
        inside = sorted(
            child.name for child in path.iterdir() if _kind(child) in (*_TEXT_KINDS, *_ARROW_KINDS)
        )
        found = f" (it holds {', '.join(inside[:_MOST_SHOWN])})" if inside else ""
        example = f"{path / ('*' + ''.join(Path(inside[0]).suffixes))}" if inside else "FOLDER/*.jsonl"
        raise UserError(
            f"`{path}` is a folder{found}",
            where=where,
            remedy=f"name one file, or several with a pattern in quotes: '{example}'",
        )
    if not path.exists() and glob.has_magic(str(path)):
        paths = local_files(path)
        kinds = sorted({_kind(one) for one in paths})
        if not paths:
            raise UserError(f"no file matches `{path}`", where=where, remedy=_RELATIVE.format(Path.cwd()))
        if len(kinds) > 1:
            raise UserError(
                f"`{path}` matches files of several kinds: {', '.join(kinds)}",
                where=where,
                remedy="narrow the pattern to one of them",
            )
        return paths
    if not path.exists():
        siblings = [str(child) for child in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(
            f"the file `{path}` does not exist{did_you_mean(nearest(str(path), siblings))}",
            where=where,
            remedy=_RELATIVE.format(Path.cwd()),
        )
    return [path]


_RELATIVE = "relative paths start where the command was typed: here {}"


def _kind(path: Path) -> str:
    """The ending that tells what the file holds, once it is unpacked."""
    return Path(path.stem).suffix if path.suffix in text.COMPRESSED else path.suffix


def _stems(paths: Sequence[Path]) -> list[str]:
    """A name for the rows of each file: the file's own, and its number where two are alike."""
    stems = [Path(path.stem).stem if path.suffix in text.COMPRESSED else path.stem for path in paths]
    return [
        stem if stems.count(stem) == 1 else f"{stem}.{number}" for number, stem in enumerate(stems, start=1)
    ]


def _part(path: Path, stem: str, where: str) -> Part:
    kind, name = _kind(path), str(path)
    if kind not in (*_TEXT_KINDS, *_ARROW_KINDS):
        raise UserError(
            f"`{path}` is of no kind that is read here, going by its name",
            where=where,
            remedy=f"name a file that ends in {_KINDS}",
        )
    if not path.is_file():
        raise UserError(
            f"`{path}` is a device, not a file", where=where, remedy=f"name a file that ends in {_KINDS}"
        )
    with text.unpacking(name, where), text.opened(path) as stream:
        begin = stream.read(4096)
    if begin.startswith(received.LFS_POINTER):
        raise received.lfs_pointer(path)
    return replace(_part_of(path, kind, begin, stem, where), file=path)


def _part_of(path: Path, kind: str, begin: bytes, stem: str, where: str) -> Part:
    name = str(path)
    if kind in _ARROW_KINDS:
        if path.suffix in text.COMPRESSED:
            raise UserError(
                f"`{path}` is packed twice", where=where, remedy="unpack it: the format packs by itself"
            )
        return arrow.part(path, name, where)
    if kind in _TABLES:
        return separated.part(path, name, stem, where, separators=_TABLES[kind])
    if kind in _TEXTS:
        return whole.part(path, name, stem, where)
    if _ARRAY.match(begin.removeprefix(b"\xef\xbb\xbf")):
        return json_array.part(path, name, stem, where)
    return json_lines.part(path, name, stem, where)


def _open_hub(reference: references.Hub, source: str, where: str) -> Opened:
    if reference.subset is None or reference.split is None:
        raise UserError(
            f"`{source}` names neither subset nor split",
            where=where,
            remedy=f"write hub:{reference.repo}@{reference.revision}#SUBSET/SPLIT, often #default/train",
        )
    import datasets

    try:
        revision = _commit(reference.repo, reference.revision)
        rows = datasets.load_dataset(
            reference.repo, reference.subset, split=reference.split, revision=revision
        )
    except Interrupted:
        raise
    # The library lets errors of a dozen packages through; each means that these rows are out of reach.
    except Exception as error:
        raise UserError(
            f"`{source}` cannot be loaded: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
            where=where,
            remedy="check the names, the commit and the network; a gated set needs `hf auth login` "
            "and its terms accepted on the Hub",
        ) from error
    if not isinstance(rows, datasets.Dataset):
        raise UserError(
            f"`{source}` is not one table of rows but {type(rows).__name__}",
            where=where,
            remedy="name one subset and one split",
        )
    name = f"{reference.repo}#{reference.subset}/{reference.split}"
    return Opened((arrow.of_dataset(rows, name, reference.repo.split("/")[-1]),), revision)


def _commit(repo: str, revision: str) -> str:
    """The commit that the revision names now; loading goes by it, so that nothing can change in between."""
    if _COMMIT.fullmatch(revision):
        return revision
    import huggingface_hub

    info = huggingface_hub.HfApi().dataset_info(repo, revision=revision)
    if info.sha is None:
        raise LookupError(f"the Hub names no commit for {revision}")
    return info.sha


def bundled_names() -> tuple[str, ...]:
    """The names of the sets that the package ships."""
    folder = resources.files("tunix_exp.data") / "bundled"
    return tuple(
        sorted(file.name.removesuffix(".jsonl") for file in folder.iterdir() if file.name.endswith(".jsonl"))
    )
