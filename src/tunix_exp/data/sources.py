"""Examples read from a source, all faults told at once, and what they share with the held-out ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from tunix_exp.data.config import OPTIONAL, DataConfig, FieldsConfig
from tunix_exp.data.example import Example
from tunix_exp.data.files import Row, open_source
from tunix_exp.data.rows import BadRow, example_of, has_field
from tunix_exp.errors import UserError

_MOST_SHOWN = 10


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What was read: `rows` stand in the source, `rows_read` were asked for and read.

    `sha256` is of the file's bytes with line ends as LF (JSON lines), of the file's bytes (Parquet), or of
    the rows written as JSON lines with sorted keys (Hub); `hashed` says which. `revision` is the commit.
    `absent` are the fields that were asked for with a `?`, and that no row has.
    """

    source: str
    rows: int
    rows_read: int
    sha256: str
    hashed: str
    revision: str | None
    absent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExampleSet(Sequence[Example]):
    """The examples in the order of their source, and the facts of that source."""

    examples: tuple[Example, ...]
    facts: SourceFacts

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


def read(config: DataConfig) -> ExampleSet:
    """The training examples, every row sound; raises UserError with all faults, ten of them spelled out."""
    return _read(config.source, config.fields, config.max_rows, "data", prompts_distinct=False)


def read_items(source: str, fields: FieldsConfig, max_items: int | None, *, key: str = "eval") -> ExampleSet:
    """The held-out items: as `read`, and no question twice; `key` is the config group that errors name."""
    return _read(source, fields, max_items, key, prompts_distinct=True)


def overlap(train: Sequence[Example], items: Sequence[Example], *, allowed: bool) -> int:
    """The number of training examples whose question, but for case and spacing, is held out.

    Raises UserError when there are any and they are not `allowed`.
    """
    held_out = {normalised(item.question): item for item in items}
    shared = [(example, held_out.get(normalised(example.question))) for example in train]
    pairs = [(example, item) for example, item in shared if item is not None]
    if pairs and not allowed:
        shown = "\n".join(
            f"  {example.place} asks what {item.place} asks: {_shortened(example.question)}"
            for example, item in pairs[:_MOST_SHOWN]
        )
        raise UserError(
            f"{len(pairs)} of {len(train)} training questions are held out\n{shown}{_left_off(len(pairs))}",
            where="data.source and eval.source",
            remedy="take those rows out of the training set, or accept it and have it recorded: "
            "data.allow_eval_overlap=true",
        )
    return len(pairs)


def normalised(question: str) -> str:
    """The question in lower case, its spacing as single blanks."""
    return " ".join(question.split()).casefold()


def _read(
    source: str, fields: FieldsConfig, limit: int | None, key: str, *, prompts_distinct: bool
) -> ExampleSet:
    where = f"{key}.source"
    opened = open_source(source, where)
    if not opened.rows:
        raise UserError(f"`{source}` has no rows", where=where, remedy="name a source with at least one row")
    fields, absent = _present(fields, opened.rows[:limit])
    examples: list[Example] = []
    problems: list[Problem] = []
    places_of_ids: dict[str, str] = {}
    places_of_questions: dict[str, str] = {}
    for row in opened.rows[:limit]:
        try:
            unnamed_id = f"{opened.stem}-{row.number:06d}"
            example = example_of(row.read(), row.place, unnamed_id, fields, key)
            _refuse_second(places_of_ids, example.id, example.place, f"the id {example.id!r}")
            if prompts_distinct:
                shown = f"the question {_shortened(example.question)}"
                _refuse_second(places_of_questions, normalised(example.question), example.place, shown)
        except BadRow as fault:
            problems.append(Problem(row.place, fault.what, fault.remedy))
        else:
            examples.append(example)
    if problems:
        raise _faults(problems, len(opened.rows[:limit]), where)
    facts = SourceFacts(
        source, len(opened.rows), len(examples), opened.sha256, opened.hashed, opened.revision, absent
    )
    return ExampleSet(tuple(examples), facts)


def _present(fields: FieldsConfig, rows: Sequence[Row]) -> tuple[FieldsConfig, tuple[str, ...]]:
    """The fields without those that may lack and that no row has, and the names of these."""
    found: dict[str, str | None] = {}
    absent = []
    for part in OPTIONAL:
        name = getattr(fields, part)
        if name is not None and name.endswith("?"):
            bare = name.removesuffix("?")
            is_there = any(_has(row, bare) for row in rows)
            found[part] = bare if is_there else None
            absent += [] if is_there else [bare]
    return fields.model_copy(update=found), tuple(absent)


def _has(row: Row, field: str) -> bool:
    try:
        return has_field(row.read(), field)
    except BadRow:  # told when the row is read for good
        return False


def _faults(problems: list[Problem], rows: int, where: str) -> UserError:
    """One fault in one piece; several with the first ten spelled out."""
    if len(problems) == 1:
        only = problems[0]
        return UserError(only.what, where=f"{only.place} ({where})", remedy=only.remedy)
    shown = "\n".join(f"  {fault.place}: {fault.what}" for fault in problems[:_MOST_SHOWN])
    remedies = dict.fromkeys(fault.remedy for fault in problems[:_MOST_SHOWN])
    return UserError(
        f"{len(problems)} of {rows} rows cannot be used\n{shown}{_left_off(len(problems))}",
        where=where,
        remedy="; ".join(remedies),
    )


def _left_off(count: int) -> str:
    return f"\n  … and {count - _MOST_SHOWN} more" if count > _MOST_SHOWN else ""


def _refuse_second(places: dict[str, str], value: str, place: str, shown: str) -> None:
    if value in places:
        raise BadRow(f"{shown} stands already at {places[value]}", "keep one of the two rows")
    places[value] = place


def _shortened(text: str) -> str:
    shown = " ".join(text.split())
    return repr(shown if len(shown) <= 60 else shown[:59] + "…")
