"""Examples as columns: what a row takes is its text, not the objects of a dozen Python values.

Arrow, whose libraries take 40 MB, is imported where a table is made.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from tunix_exp.data import columns
from tunix_exp.data.example import Example

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 8192
_CHARACTERS = columns.MOST_BYTES // 8  # of a batch: in UTF-8 they take half of what a column can have


@cache
def _schema() -> "pa.Schema":
    import pyarrow as pa

    text, texts = pa.string(), pa.list_(pa.string())
    return pa.schema(
        {
            "id": text,
            "question": text,
            "steps": texts,
            "answer": text,
            "section": text,
            "category": text,
            "difficulty": text,
            "place": text,
            "roles": texts,
            "texts": texts,
        }
    )


class ExampleTable(Sequence[Example]):
    """The examples of an Arrow table, each made when it is asked for."""

    def __init__(self, table: "pa.Table") -> None:
        """Of the columns of `_schema`."""
        self._table = table

    def __len__(self) -> int:
        """The number of examples."""
        return self._table.num_rows

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> "ExampleTable": ...
    def __getitem__(self, index: int | slice) -> "Example | ExampleTable":
        """The example, or the examples, at `index`."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return ExampleTable(self._table.slice(start, max(0, stop - start)))
            return ExampleTable(self._table.take(columns.places(np.arange(start, stop, step))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"there are {len(self)} examples, and none at {index}")
        return _example(self._table.slice(index % len(self), 1).to_pylist()[0])

    def __iter__(self) -> Iterator[Example]:
        """The examples in order."""
        for batch in self._table.to_batches(max_chunksize=_BATCH):
            ids, questions, steps, *others, roles, texts = map(_values, batch.columns)
            messages = (tuple(zip(*pair, strict=True)) for pair in zip(roles, texts, strict=True))
            yield from map(Example, ids, questions, map(tuple, steps), *others, messages)

    def column(self, name: str) -> Iterator[Any]:
        """The values of one column, in order."""
        for chunk in self._table.column(name).chunks:
            for start in range(0, len(chunk), _BATCH):
                yield from chunk.slice(start, _BATCH).to_pylist()

    def where(self, is_kept_N: np.ndarray, file: str | None = None) -> "ExampleTable":
        """The examples at the true places, in order; `file`, where named, is made and mapped from disk."""
        import pyarrow as pa

        kept = self._where(is_kept_N)
        if file is None:
            return ExampleTable(pa.Table.from_batches(kept, _schema()))
        with pa.ipc.new_file(file, _schema()) as writer:
            for batch in kept:
                writer.write_batch(batch)
        return mapped(file)

    def _where(self, is_kept_N: np.ndarray) -> "Iterator[pa.RecordBatch]":
        start = 0
        for batch in self._table.to_batches(max_chunksize=_BATCH):
            yield batch.filter(columns.mask(is_kept_N[start : start + len(batch)]))
            start += len(batch)

    def ids(self, places_I: np.ndarray) -> tuple[str, ...]:
        """The ids of the examples at these places."""
        return tuple(self._table.column("id").take(columns.places(places_I)).to_pylist())


class TableWriter:
    """Columns that grow by an example at a time; in memory, or in an Arrow file."""

    def __init__(self, file: str | None = None) -> None:
        """Of no rows yet; `file` is made, and `table` maps it from disk."""
        import pyarrow as pa

        self._rows: list[Example] = []
        self._characters = 0
        self._batches: list[pa.RecordBatch] = []
        self._file = file
        self._writer = None if file is None else pa.ipc.new_file(file, _schema())

    def append(self, example: Example) -> None:
        """One more row."""
        texts = (example.question, example.answer, *example.steps, *(text for _, text in example.messages))
        characters = sum(map(len, texts))
        if len(self._rows) == _BATCH or self._characters + characters > _CHARACTERS:
            self._flush()
        self._rows.append(example)
        self._characters += characters

    def _flush(self) -> None:
        import pyarrow as pa

        rows, self._rows, self._characters = self._rows, [], 0
        *names, _, _ = _schema().names
        plain = {name: [getattr(row, name) for row in rows] for name in names}
        listed = {
            "steps": plain.pop("steps"),
            "roles": [[role for role, _ in row.messages] for row in rows],
            "texts": [[text for _, text in row.messages] for row in rows],
        }
        made = {name: columns.texts(values) for name, values in plain.items()}
        made |= {name: columns.lists_of_texts(values) for name, values in listed.items()}
        batch = pa.RecordBatch.from_arrays([made[name] for name in _schema().names], schema=_schema())
        if self._writer is None:
            self._batches.append(batch)
        else:
            self._writer.write_batch(batch)

    def table(self) -> ExampleTable:
        """The examples that were appended; nothing more can be."""
        import pyarrow as pa

        self._flush()
        if self._writer is None:
            return ExampleTable(pa.Table.from_batches(self._batches, _schema()))
        self._writer.close()
        return mapped(str(self._file))


def mapped(file: str) -> ExampleTable:
    """The examples of a file that a `TableWriter` made, read from disk where they are asked for."""
    import pyarrow as pa

    return ExampleTable(pa.ipc.open_file(pa.memory_map(file)).read_all())


def concatenated(tables: Sequence[ExampleTable]) -> ExampleTable:
    """The examples of all tables, one after another; nothing is copied."""
    import pyarrow as pa

    return ExampleTable(pa.concat_tables([table._table for table in tables]))


def table_of(examples: Sequence[Example]) -> ExampleTable:
    """These examples."""
    writer = TableWriter()
    for example in examples:
        writer.append(example)
    return writer.table()


def _values(column: "pa.Array") -> Sequence[Any]:
    """The column's values; of lists that are all empty without a look at each."""
    import pyarrow as pa

    if pa.types.is_list(column.type) and not len(column.flatten()):
        return ((),) * len(column)
    return column.to_pylist()


def _example(row: dict[str, Any]) -> Example:
    roles, texts = row.pop("roles"), row.pop("texts")
    row["steps"] = tuple(row["steps"])
    return Example(**row, messages=tuple(zip(roles, texts, strict=True)))
