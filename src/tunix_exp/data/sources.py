"""Examples read from a source, all faults told at once."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

from pydantic import TypeAdapter

from tunix_exp.data import cache
from tunix_exp.data.config import DataConfig, FieldsConfig, Format, Only, SourceConfig
from tunix_exp.data.equals import Equals, Ids
from tunix_exp.data.example import Example, normalised, shortened
from tunix_exp.data.files import Opened, open_source
from tunix_exp.data.formats import resolve
from tunix_exp.data.reading.part import BadRow, Part, Seen, digest_of
from tunix_exp.data.reading.values import kind_of
from tunix_exp.data.rows import RowReader, is_missing, value_at
from tunix_exp.data.table import ExampleTable, TableWriter, concatenated, mapped
from tunix_exp.errors import UserError
from tunix_exp.evidence.sections import digest_of_sets
from tunix_exp.host_memory import no_garbage_sought
from tunix_exp.json_text import printable

_MOST_SHOWN = 10
_MOST_UNREAD = 100


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What was read: `rows` stand in the source, `rows_read` were asked for and read.

    `sha256` is of the file's bytes with line ends as LF (text), of the file's bytes (Parquet, Arrow), or of
    the rows written as JSON lines with sorted keys (Hub); `hashed` says which; of several files it is that of
    their hashes, a line each. `revision` is the commit. `kind` is the form of the files, `fields` what the
    parts of a row were read from, `guessed` those of them that were found by looking. `absent` are the fields
    that were asked for with a `?`, and that no row has; `unread` are fields that nothing reads. `counts` is
    what was read past or in another form, and what is equal. Of items from the training set (`data`) the
    `rows` are those that are held out, and the hash is the training set's.
    """

    source: str
    rows: int
    rows_read: int
    sha256: str
    hashed: str
    revision: str | None
    files: int
    kind: str
    fields: Mapping[str, str]
    guessed: Mapping[str, str]
    absent: tuple[str, ...]
    unread: tuple[str, ...]
    counts: Mapping[str, int]


_TABLE, _FACTS = "examples.arrow", "facts.json"
_FACTS_OF = TypeAdapter(SourceFacts)


@dataclass(frozen=True, slots=True)
class ExampleSet(Sequence[Example]):
    """The examples in the order of their source, and the facts of that source.

    `kept_in` is the folder of the cache that they are read from, where they are, and `key` what stands for
    them where they are kept in memory. `held_out` are the items of the same source, where these are none of
    the examples.
    """

    examples: ExampleTable
    facts: SourceFacts
    kept_in: Path | None = None
    held_out: "ExampleSet | None" = None
    key: str | None = None

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.examples)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        """The example, or the examples, at `index`."""
        return self.examples[index]

    def __iter__(self) -> Iterator[Example]:
        """The examples in order."""
        return iter(self.examples)


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of one row."""

    place: str
    what: str
    remedy: str


def read(config: DataConfig | SourceConfig, name: str = "") -> ExampleSet:
    """The examples of one training set, every row sound; raises UserError with all faults, ten of them in
    full.

    The `name` of a set of a mixture stands before the ids of its rows.
    """
    assert config.source is not None  # a mixture has a source for each of its sets
    key, prefix = (f"data.mix.{name}", f"{name}:") if name else ("data", "")
    asked = config.format, config.fields, config.only, config.max_rows
    return _Reading(config.source, *asked, key, prefix=prefix).done(questions_distinct=False)


def read_sets(config: DataConfig) -> dict[str, ExampleSet]:
    """The training examples by their sets; a set that is alone has no name."""
    return {name: read(one, name) for name, one in config.sets.items()}


def joined(sets: Mapping[str, ExampleSet]) -> ExampleSet:
    """The examples of all sets, one after another; of several the facts are what they have in common."""
    if len(sets) == 1:
        return next(iter(sets.values()))
    facts = [one.facts for one in sets.values()]
    counts = sum((Counter(one.counts) for one in facts), Counter[str]())
    together = replace(
        facts[0],
        source=", ".join(sets),
        rows=sum(one.rows for one in facts),
        rows_read=sum(one.rows_read for one in facts),
        sha256=digest_of_sets({name: one.facts.sha256 for name, one in sets.items()}),
        hashed="the name and the hash of each set, a line each",
        revision=None,
        files=sum(one.files for one in facts),
        fields={part: field for one in facts for part, field in one.fields.items()},
        counts=dict(sorted(counts.items())),
    )
    return ExampleSet(concatenated([one.examples for one in sets.values()]), together)


def read_items(
    source: str, form: Format, fields: FieldsConfig, max_items: int | None, *, key: str = "eval"
) -> ExampleSet:
    """The held-out items: as `read`, and no question twice; `key` is the config group that errors name."""
    return _Reading(source, form, fields, None, max_items, key).done(questions_distinct=True)


class _Reading:
    """One source on its way to examples."""

    def __init__(
        self,
        source: str,
        form: Format,
        fields: FieldsConfig,
        only: Only | None,
        limit: int | None,
        key: str,
        *,
        prefix: str = "",
    ) -> None:
        self._source, self._fields = source, fields
        self._prefix = prefix  # of the rows' ids
        self._form: Format = form
        self._only, self._limit, self._key = (only,) if isinstance(only, dict) else only or (), limit, key
        self._where = f"{key}.source"
        self._counts: Counter[str] = Counter()
        self._problems: list[Problem] = []
        self._faulty = self._rows = self._wanted = 0
        self._guessed: dict[str, str] = {}
        self._reader: RowReader | None = None

    def done(self, *, questions_distinct: bool) -> ExampleSet:
        """The examples, once all rows were read."""
        opened = open_source(self._source, self._where)
        files = [part.file for part in opened.parts if part.file is not None]
        fields = self._fields.model_dump()
        settings = [self._form, fields, self._only, self._limit, questions_distinct, self._source]
        settings.append(self._prefix)
        folder = cache.folder_for(files, "examples", *settings)
        if folder is None:
            # a set of the Hub, which may be of any size, is read again
            key = cache.key_for(files, "examples", *settings) if opened.revision is None else None

            def anew() -> ExampleSet:
                table, facts = self._read_all(opened, TableWriter(), questions_distinct)
                return ExampleSet(table, facts, key=key)

            return cache.in_memory(key, anew)
        if not cache.is_whole(folder):
            with cache.building(folder) as made:
                _, facts = self._read_all(opened, TableWriter(str(made / _TABLE)), questions_distinct)
                (made / _FACTS).write_bytes(_FACTS_OF.dump_json(facts))
        facts = _FACTS_OF.validate_json((folder / _FACTS).read_bytes())
        return ExampleSet(mapped(str(folder / _TABLE)), facts, folder)

    @no_garbage_sought()
    def _read_all(
        self, opened: Opened, writer: TableWriter, questions_distinct: bool
    ) -> tuple[ExampleTable, SourceFacts]:
        equals = Equals()
        ids = Ids()
        questions: dict[str, str] | None = {} if questions_distinct else None
        seen: list[tuple[Part, Seen]] = []
        for part in opened.parts:
            seen.append((part, Seen()))
            for example in self._examples(part, seen[-1][1]):
                try:
                    if questions is not None and example.question:
                        shown = f"the question {shortened(example.question)}"
                        _refuse_second(questions, normalised(example.question), example.place, shown)
                except BadRow as fault:
                    self._refused(example.place, fault)
                else:
                    writer.append(example)
                    equals.add(example)
                    if self._fields.id is not None:  # else they are numbers, each another
                        ids.add(example.id)
        table = writer.table()
        for first, second in ids.repeated(table):
            fault = BadRow(f"the id {first.id!r} stands already at {first.place}", "keep one of the two rows")
            self._refused(second.place, fault)
        if not self._rows:
            raise UserError(
                f"`{self._source}` has no rows",
                where=self._where,
                remedy="name a source with at least one row",
            )
        if self._problems:
            raise self._faults()
        if not len(table):
            raise UserError(
                f"none of the {self._rows} rows is what {self._key}.only asks for",
                where=f"{self._key}.only",
                remedy="check the names and the values, as they stand in the file",
            )
        return table, self._facts(opened, seen, len(table), equals)

    def _examples(self, part: Part, seen: Seen) -> Iterator[Example]:
        """Those of the rows that are asked for and sound; the others are noted."""
        for number, line, raw in part.rows(seen):
            self._rows += 1
            if self._limit is not None and self._wanted >= self._limit:
                continue
            place = part.place(number, line)
            self._wanted += 1
            try:
                record = part.parse(raw)
                if self._only and not self._is_wanted(record):
                    self._wanted -= 1
                    self._counts["filtered_out"] += 1
                    continue
                example = self._read(record, place).example(record, place, f"{part.stem}-{number:06d}")
                yield replace(example, id=self._prefix + example.id) if self._prefix else example
            except BadRow as fault:
                self._refused(place, fault)

    def _read(self, record: Any, place: str) -> RowReader:
        """The reader of this source's rows, which goes by the first of them."""
        if self._reader is None:
            first = record if isinstance(record, dict) else {}
            if not first:
                return RowReader(self._fields, self._key)
            fields, self._guessed = resolve(self._form, self._fields, first, self._key, place)
            self._reader = RowReader(fields, self._key)
        return self._reader

    def _is_wanted(self, record: Any) -> bool:
        return any(self._fits(record, one) for one in self._only)

    def _fits(self, record: Any, only: Mapping[str, Sequence[str]]) -> bool:
        for field, values in only.items():
            found = value_at(record, field) if isinstance(record, dict) else record
            if is_missing(found):
                remedy = f"name a field that all rows have in {self._key}.only"
                raise BadRow(f"the field `{field}` of {self._key}.only is missing", remedy)
            if isinstance(found, bool):
                found = str(found).lower()
            if found is not None and not isinstance(found, str):
                remedy = f"name a field of texts, numbers or truth values in {self._key}.only"
                raise BadRow(f"`{field}` is {kind_of(found)}", remedy)
            if found not in values:
                return False
        return True

    def _refused(self, place: str, fault: BadRow) -> None:
        self._faulty += 1
        if len(self._problems) < _MOST_SHOWN:
            self._problems.append(Problem(place, fault.what, fault.remedy))

    def _faults(self) -> UserError:
        """One fault in one piece; several with the first ten in full."""
        if self._faulty == 1:
            only = self._problems[0]
            return UserError(only.what, where=f"{only.place} ({self._where})", remedy=only.remedy)
        shown = "\n".join(f"  {fault.place}: {fault.what}" for fault in self._problems)
        remedies = dict.fromkeys(fault.remedy for fault in self._problems)
        return UserError(
            f"{self._faulty} of {self._wanted} rows cannot be used\n{shown}{_left_off(self._faulty)}",
            where=self._where,
            remedy="; ".join(remedies),
        )

    def _facts(
        self, opened: Opened, seen: list[tuple[Part, Seen]], read: int, equals: "Equals"
    ) -> SourceFacts:
        assert self._reader is not None  # there are rows, and all are sound
        for _, each in seen:
            self._counts.update(each.counts)
        self._counts.update(self._reader.counts)
        self._counts.update(equals.counts())
        return SourceFacts(
            source=self._source,
            rows=self._rows,
            rows_read=read,
            sha256=digest_of(seen),
            hashed=seen[0][0].hashed,
            revision=opened.revision,
            files=len(seen),
            kind=seen[0][0].kind,
            fields=self._reader.names,
            guessed=self._guessed,
            absent=self._reader.absent,
            unread=tuple(sorted(map(printable, self._reader.unread))[:_MOST_UNREAD]),
            counts={name: count for name, count in sorted(self._counts.items()) if count},
        )


def _left_off(count: int) -> str:
    return f"\n  … and {count - _MOST_SHOWN} more" if count > _MOST_SHOWN else ""


def _refuse_second(places: dict[str, str], value: str, place: str, shown: str) -> None:
    if value in places:
        raise BadRow(f"{shown} stands already at {places[value]}", "keep one of the two rows")
    places[value] = place
