"""Parquet and Arrow files, and tables of the `datasets` library, a batch of rows at a time."""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tunix_exp.data.reading.part import Part, Raw, Seen
from tunix_exp.data.reading.values import NotANumber, Number
from tunix_exp.errors import Interrupted, UserError

PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc")
_BATCH = 4096


def part(path: Path, name: str, where: str) -> Part:
    """The rows of the file, dictionaries and nested columns as the values that they stand for."""
    kind, batches = ("Parquet", _parquet) if path.suffix in PARQUET else ("Arrow", _arrow)

    def rows(seen: Seen) -> Iterator[Raw]:
        with path.open("rb") as stream:
            seen.digest = hashlib.file_digest(stream, "sha256").hexdigest()
        yield from _numbered(_told_plainly(lambda: batches(path), name, kind, where))

    return Part(name, path.stem, kind, "file bytes", rows, plain)


def of_dataset(dataset: Any, name: str, stem: str) -> Part:
    """The rows of a table of `datasets`; the digest is of its rows as JSON lines with sorted keys."""

    def rows(seen: Seen) -> Iterator[Raw]:
        digest = hashlib.sha256()
        for number, _, record in _numbered(
            batch.to_pylist() for batch in dataset.with_format("arrow").iter(_BATCH)
        ):
            line = json.dumps(record, ensure_ascii=False, sort_keys=True, default=str)
            digest.update(line.encode() + b"\n")
            yield number, number, record
        seen.digest = digest.hexdigest()

    return Part(name, stem, "data set of the Hub", "rows as JSON lines, keys sorted", rows, plain)


def plain(value: Any) -> Any:
    """The value with its numbers as texts, as Python writes them."""
    match value:
        case bool() | str() | None:
            return value
        case int():
            return Number(value)
        case float():
            return Number(value) if value - value == 0 else NotANumber(value)
        case dict():
            return {key: plain(inner) for key, inner in value.items()}
        case list():
            return [plain(inner) for inner in value]
        case _:
            return value


def _numbered(batches: Iterator[list[dict[str, Any]]]) -> Iterator[Raw]:
    for number, record in enumerate(itertools.chain.from_iterable(batches), start=1):
        yield number, number, record


def _parquet(path: Path) -> Iterator[list[dict[str, Any]]]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        _refuse_twice(file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=_BATCH):
            yield batch.to_pylist()


def _arrow(path: Path) -> Iterator[list[dict[str, Any]]]:
    """Of the file format, or of the stream format that `datasets` writes."""
    import pyarrow

    with pyarrow.memory_map(str(path)) as source:
        try:
            file = pyarrow.ipc.open_file(source)
            stored = (file.get_batch(number) for number in range(file.num_record_batches))
        except pyarrow.ArrowInvalid:
            source.seek(0)
            file = stored = pyarrow.ipc.open_stream(source)
        _refuse_twice(file.schema.names)
        for batch in stored:
            for start in range(0, batch.num_rows, _BATCH):
                yield batch.slice(start, _BATCH).to_pylist()


def _refuse_twice(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the column `{twice[0]}` stands twice")


def _told_plainly(
    batches: Callable[[], Iterator[list[dict[str, Any]]]], name: str, kind: str, where: str
) -> Iterator[list[dict[str, Any]]]:
    try:
        yield from batches()
    except Interrupted:
        raise
    # What a damaged file makes of it is of a dozen types: Arrow's own, OSError, UnicodeDecodeError, …
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"`{name}` cannot be read as {kind}: {said[0]}",
            where=where,
            remedy="write the file again, or name it by what it is",
        ) from error
