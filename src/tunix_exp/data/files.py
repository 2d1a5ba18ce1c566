"""Where rows come from: a bundled set, a local file, the Hub; each opened strictly."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from tunix_exp import json_text, received, references
from tunix_exp.data.rows import BadRow
from tunix_exp.errors import Interrupted, UserError, did_you_mean, nearest
from tunix_exp.json_text import BadJSON

_MOST_SHOWN = 10
_JSON_LINES = (".jsonl", ".ndjson")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Row:
    """One row, parsed when it is read; `read` raises BadRow."""

    place: str
    number: int
    read: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Opened:
    """The rows of a source, each parsed only when it is asked for."""

    stem: str
    rows: list[Row]
    sha256: str
    hashed: str
    revision: str | None = None


def open_source(source: str, where: str) -> Opened:
    """The rows of `source`; `where` is the config key that errors name."""
    reference = references.parse(source, key=where)
    match reference:
        case references.Bundled(name):
            return _open_bundled(name, where)
        case references.Local(path):
            return _open_file(path, where)
        case references.Hub():
            return _open_hub(reference, source, where)
        case references.Random():
            raise UserError(
                "examples cannot be drawn at random", where=where, remedy="name a path, bundled:… or hub:…"
            )


def _open_bundled(name: str, where: str) -> Opened:
    known = bundled_names()
    if name not in known:
        raise UserError(
            f"no set named `{name}` is bundled{did_you_mean(nearest(name, known))}",
            where=where,
            remedy=f"bundled are: {', '.join(known)}",
        )
    file = resources.files("tunix_exp.data") / "bundled" / f"{name}.jsonl"
    return _json_lines(file.read_bytes(), name, f"{name}.jsonl", where)


def _open_file(path: Path, where: str) -> Opened:
    kinds = " or ".join((*_JSON_LINES, ".parquet"))
    try:
        return _open_at(path, where, kinds)
    except OSError as error:
        raise UserError(
            f"`{path}` cannot be read: {error.strerror}", where=where, remedy="make the file readable"
        ) from error


def _open_at(path: Path, where: str, kinds: str) -> Opened:
    if path.is_dir():
        inside = sorted(child.name for child in path.iterdir() if child.suffix in (*_JSON_LINES, ".parquet"))
        found = f" (it holds {', '.join(inside[:_MOST_SHOWN])})" if inside else ""
        raise UserError(f"`{path}` is a folder{found}", where=where, remedy=f"name one file, {kinds}")
    if not path.exists():
        siblings = [str(child) for child in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(
            f"the file `{path}` does not exist{did_you_mean(nearest(str(path), siblings))}",
            where=where,
            remedy=f"relative paths start where the command was typed: here {Path.cwd()}",
        )
    if path.suffix not in (*_JSON_LINES, ".parquet"):
        raise UserError(
            f"`{path}` is neither JSON lines nor Parquet, going by its name",
            where=where,
            remedy=f"name a file that ends in {kinds}; unpack it first if it is compressed",
        )
    if not path.is_file():
        raise UserError(f"`{path}` is a device, not a file", where=where, remedy=f"name one file, {kinds}")
    content = path.read_bytes()
    if content.startswith(received.LFS_POINTER):
        raise received.lfs_pointer(path)
    if path.suffix == ".parquet":
        return _parquet(content, path, where)
    return _json_lines(content, path.stem, str(path), where)


def _json_lines(content: bytes, stem: str, name: str, where: str) -> Opened:
    """The lines of a file, not yet parsed; what is wrong with the file as a whole is raised at once."""
    remedy = "save the file as UTF-8 without a byte-order mark"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{name}:1 is UTF-16, not UTF-8", where=where, remedy=remedy)
    if content.startswith(b"\xef\xbb\xbf"):
        raise UserError(f"{name}:1 begins with a byte-order mark", where=where, remedy=remedy)
    content = content.replace(b"\r\n", b"\n")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{name}:{line} is not UTF-8: no character holds 0x{content[error.start]:02x} there",
            where=where,
            remedy=remedy,
        ) from error
    # Only LF ends a line: JSON strings may hold U+2028 and its like, at which splitlines() would cut.
    lines = text.removesuffix("\n").split("\n") if text else []
    rows = [
        Row(f"{name}:{number}", number, lambda line=line: _parsed(line))
        for number, line in enumerate(lines, start=1)
    ]
    return Opened(stem, rows, hashlib.sha256(content).hexdigest(), "file bytes with LF line ends")


def _parsed(line: str) -> Any:
    if not line.strip():
        raise BadRow("the line is empty", "take empty lines out")
    try:
        return json_text.parse(line)
    except BadJSON as fault:
        raise _bad_row(fault) from fault


def _bad_row(fault: BadJSON) -> BadRow:
    match fault.fault:
        case "syntax":
            what = f"bad JSON at column {fault.column}: {fault.subject}"
            return BadRow(what, "write one whole JSON object on each line")
        case "key":
            return BadRow(f"the field `{fault.subject}` stands twice", "keep one of the two")
        case "constant":
            return BadRow(f"{fault.subject} is not JSON", "write null, or leave the field out")
        case "number":
            return BadRow(f"the row {fault.what}", "write the number as a text, in quotes")
        case _:
            return BadRow("the JSON is nested too deep", "write one flat JSON object on each line")


def _parquet(content: bytes, path: Path, where: str) -> Opened:
    import pyarrow
    import pyarrow.parquet

    try:
        records = pyarrow.parquet.read_table(pyarrow.BufferReader(content)).to_pylist()
    except Interrupted:
        raise
    # What a damaged file makes of it is of a dozen types: Arrow's own, OSError, UnicodeDecodeError, …
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"`{path}` cannot be read as Parquet: {said[0]}",
            where=where,
            remedy="write the file again, or name it by what it is",
        ) from error
    return Opened(path.stem, _numbered(records, str(path)), hashlib.sha256(content).hexdigest(), "file bytes")


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
    records = rows.to_list()
    digest = hashlib.sha256()
    for record in records:
        line = json.dumps(record, ensure_ascii=False, sort_keys=True, default=str)
        digest.update(line.encode() + b"\n")
    name = f"{reference.repo}#{reference.subset}/{reference.split}"
    stem = reference.repo.split("/")[-1]
    return Opened(
        stem, _numbered(records, name), digest.hexdigest(), "rows as JSON lines, keys sorted", revision
    )


def _commit(repo: str, revision: str) -> str:
    """The commit that the revision names now; loading goes by it, so that nothing can change in between."""
    if _COMMIT.fullmatch(revision):
        return revision
    import huggingface_hub

    info = huggingface_hub.HfApi().dataset_info(repo, revision=revision)
    if info.sha is None:
        raise LookupError(f"the Hub names no commit for {revision}")
    return info.sha


def _numbered(records: list[dict[str, Any]], name: str) -> list[Row]:
    return [
        Row(f"{name}:{number}", number, lambda record=record: record)
        for number, record in enumerate(records, start=1)
    ]


def bundled_names() -> tuple[str, ...]:
    """The names of the sets that the package ships."""
    folder = resources.files("tunix_exp.data") / "bundled"
    return tuple(
        sorted(file.name.removesuffix(".jsonl") for file in folder.iterdir() if file.name.endswith(".jsonl"))
    )
