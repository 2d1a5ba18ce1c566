"""Rows of a bundled set, a local file or the Hub, read strictly into examples."""

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, overload

from tunix_exp import references
from tunix_exp.data.config import DataConfig, FieldsConfig
from tunix_exp.data.example import Example
from tunix_exp.errors import UserError

_MOST_SHOWN = 10
_CALCULATOR_MARK = re.compile(r"<<[^<>\n]*>>")
_JSON_LINES = (".jsonl", ".ndjson")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MISSING = object()


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What was read: `rows` stand in the source, `rows_read` were asked for and read.

    `sha256` is of the file's bytes with line ends as LF (JSON lines), of the file's bytes (Parquet), or of
    the rows written as JSON lines with sorted keys (Hub); `hashed` says which.
    """

    source: str
    rows: int
    rows_read: int
    sha256: str
    hashed: str


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


class BadRow(Exception):
    """A row cannot be an example; carries what is wrong and the remedy."""

    def __init__(self, what: str, remedy: str) -> None:
        """Keep both parts."""
        super().__init__(what)
        self.what = what
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class _Row:
    place: str
    number: int
    read: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class _Opened:
    """The rows of a source, each parsed only when it is asked for."""

    stem: str
    rows: list[_Row]
    sha256: str
    hashed: str


def read(config: DataConfig) -> ExampleSet:
    """The training examples, every row sound; raises UserError with all faults, ten of them spelled out."""
    return _read(config.source, config.fields, config.max_rows, "data", prompts_distinct=False)


def read_items(
    source: str, fields: FieldsConfig, max_items: int | None, *, key: str = "eval"
) -> ExampleSet:
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
            f"{len(pairs)} of {len(train)} training questions are held-out items\n{shown}{_left_off(len(pairs))}",
            where="data.source and eval.source",
            remedy="take those rows out of the training set, or accept it and have it recorded: "
            "data.allow_eval_overlap=true",
        )
    return len(pairs)


def normalised(question: str) -> str:
    """The question in lower case, its spacing as single blanks."""
    return " ".join(question.split()).casefold()


def bundled_names() -> tuple[str, ...]:
    """The names of the sets that the package ships."""
    folder = resources.files("tunix_exp.data") / "bundled"
    return tuple(
        sorted(file.name.removesuffix(".jsonl") for file in folder.iterdir() if file.name.endswith(".jsonl"))
    )


def _read(
    source: str, fields: FieldsConfig, limit: int | None, key: str, *, prompts_distinct: bool
) -> ExampleSet:
    where = f"{key}.source"
    opened = _open(references.parse(source, key=where), source, where)
    if not opened.rows:
        raise UserError(f"`{source}` has no rows", where=where, remedy="name a source with at least one row")
    examples: list[Example] = []
    problems: list[Problem] = []
    places_of_ids: dict[str, str] = {}
    places_of_questions: dict[str, str] = {}
    for row in opened.rows[:limit]:
        try:
            example = _example(row, fields, opened.stem, key)
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
    facts = SourceFacts(source, len(opened.rows), len(examples), opened.sha256, opened.hashed)
    return ExampleSet(tuple(examples), facts)


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


def _open(reference: references.Reference, source: str, where: str) -> _Opened:
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


def _open_bundled(name: str, where: str) -> _Opened:
    known = bundled_names()
    if name not in known:
        raise UserError(
            f"no set named `{name}` is bundled{_did_you_mean(name, known)}",
            where=where,
            remedy=f"bundled are: {', '.join(known)}",
        )
    file = resources.files("tunix_exp.data") / "bundled" / f"{name}.jsonl"
    return _json_lines(file.read_bytes(), name, f"{name}.jsonl", where)


def _open_file(path: Path, where: str) -> _Opened:
    kinds = " or ".join((*_JSON_LINES, ".parquet"))
    if path.is_dir():
        inside = sorted(child.name for child in path.iterdir() if child.suffix in (*_JSON_LINES, ".parquet"))
        found = f" (it holds {', '.join(inside[:_MOST_SHOWN])})" if inside else ""
        raise UserError(f"`{path}` is a folder{found}", where=where, remedy=f"name one file, {kinds}")
    if not path.exists():
        siblings = [str(child) for child in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(
            f"the file `{path}` does not exist{_did_you_mean(str(path), siblings)}",
            where=where,
            remedy=f"relative paths start where the command was typed: here {Path.cwd()}",
        )
    if path.suffix not in (*_JSON_LINES, ".parquet"):
        raise UserError(
            f"`{path}` is neither JSON lines nor Parquet, going by its name",
            where=where,
            remedy=f"name a file that ends in {kinds}; unpack it first if it is compressed",
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"`{path}` cannot be read: {error.strerror}", where=where, remedy="make the file readable"
        ) from error
    if path.suffix == ".parquet":
        return _parquet(content, path, where)
    return _json_lines(content, path.stem, str(path), where)


def _json_lines(content: bytes, stem: str, name: str, where: str) -> _Opened:
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
            f"{name}:{line} is not UTF-8: the byte 0x{content[error.start]:02x} stands where no character begins",
            where=where,
            remedy=remedy,
        ) from error
    # Only LF ends a line: JSON strings may hold U+2028 and its like, at which splitlines() would cut.
    lines = text.removesuffix("\n").split("\n") if text else []
    rows = [
        _Row(f"{name}:{number}", number, lambda line=line: _parsed(line))
        for number, line in enumerate(lines, start=1)
    ]
    return _Opened(stem, rows, hashlib.sha256(content).hexdigest(), "file bytes with LF line ends")


def _parsed(line: str) -> Any:
    if not line.strip():
        raise BadRow("the line is empty", "take empty lines out")
    try:
        return json.loads(line, object_pairs_hook=_distinct_fields, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise BadRow(
            f"bad JSON at column {error.colno}: {error.msg}", "write one whole JSON object on each line"
        ) from error
    except RecursionError as error:
        raise BadRow("the JSON is nested too deep", "write one flat JSON object on each line") from error


def _distinct_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRow(f"the field `{twice}` stands twice", "keep one of the two")
    return row


def _refuse_constant(constant: str) -> None:
    raise BadRow(f"{constant} is not JSON", "write null, or leave the field out")


def _parquet(content: bytes, path: Path, where: str) -> _Opened:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(content))
    except pyarrow.ArrowException as error:
        raise UserError(
            f"`{path}` cannot be read as Parquet: {str(error).splitlines()[0]}",
            where=where,
            remedy="write the file again, or name it by what it is",
        ) from error
    records = table.to_pylist()
    return _Opened(
        path.stem, _numbered(records, str(path)), hashlib.sha256(content).hexdigest(), "file bytes"
    )


def _open_hub(reference: references.Hub, source: str, where: str) -> _Opened:
    if reference.subset is None or reference.split is None:
        raise UserError(
            f"`{source}` names neither subset nor split",
            where=where,
            remedy=f"write hub:{reference.repo}@{reference.revision}#SUBSET/SPLIT, often #default/train",
        )
    if _COMMIT.fullmatch(reference.revision) is None:
        raise UserError(
            f"`{reference.revision}` is not a commit: what it names can change under the run",
            where=where,
            remedy="pin the data set by its 40-digit commit; the Hub shows it under Files, History",
        )
    import datasets

    try:
        rows = datasets.load_dataset(
            reference.repo, reference.subset, split=reference.split, revision=reference.revision
        )
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
    return _Opened(stem, _numbered(records, name), digest.hexdigest(), "rows as JSON lines, keys sorted")


def _numbered(records: list[dict[str, Any]], name: str) -> list[_Row]:
    return [
        _Row(f"{name}:{number}", number, lambda record=record: record)
        for number, record in enumerate(records, start=1)
    ]


def _example(row: _Row, fields: FieldsConfig, stem: str, key: str) -> Example:
    """The row as an example; raises BadRow."""
    record = row.read()
    if not isinstance(record, dict):
        raise BadRow(f"the row is {_kind(record)}, not an object", "write one JSON object on each line")
    answer = _text(record, "answer", fields.answer, key)
    if fields.answer_marker is not None:
        steps, answer = _parted(answer, fields.answer, fields.answer_marker)
    elif fields.reasoning is not None:
        steps = _steps(record, fields.reasoning, key)
    else:
        steps = ()
    if fields.strip_calculator_marks:
        steps = tuple(_CALCULATOR_MARK.sub("", step) for step in steps)
    return Example(
        id=f"{stem}-{row.number:06d}" if fields.id is None else _id(record, fields.id, key),
        question=_text(record, "question", fields.question, key),
        steps=steps,
        answer=answer,
        section=_label(record, "section", fields.section, key),
        category=_label(record, "category", fields.category, key),
        difficulty=_label(record, "difficulty", fields.difficulty, key),
        place=row.place,
    )


def _parted(worked: str, field: str, marker: str) -> tuple[tuple[str, ...], str]:
    """The lines before the marker, and the text after it."""
    count = worked.count(marker)
    if count != 1:
        raise BadRow(
            f"the marker {marker!r} stands {count} times in `{field}`, not once",
            f"write the answer once, after {marker}",
        )
    reasoning, answer = worked.split(marker)
    if not answer.strip():
        raise BadRow(
            f"after the marker {marker!r} in `{field}` stands nothing", f"write the answer after {marker}"
        )
    return _lines(reasoning), answer.strip()


def _steps(record: dict[str, Any], field: str, key: str) -> tuple[str, ...]:
    """The reasoning: a list of texts, a list of objects with `content`, or one text, by lines."""
    value = _value(record, "reasoning", field, key)
    if isinstance(value, str):
        _refuse_half_characters(value, field)
        return _lines(value)
    remedy = "write a list of texts, a list of objects with a text `content`, or one text"
    if not isinstance(value, list):
        raise BadRow(f"`{field}` is {_kind(value)}, not steps", remedy)
    steps: list[str] = []
    for number, step in enumerate(value, start=1):
        content = step.get("content", _MISSING) if isinstance(step, dict) else step
        if not isinstance(content, str):
            shown = "an object without `content`" if content is _MISSING else _kind(content)
            raise BadRow(f"step {number} of `{field}` is {shown}, not a text", remedy)
        if not content.strip():
            raise BadRow(f"step {number} of `{field}` is empty", "write the step or take it out")
        _refuse_half_characters(content, field)
        steps.append(content)
    return tuple(steps)


def _lines(text: str) -> tuple[str, ...]:
    """The lines between the first and the last that hold something, unchanged."""
    return tuple(text.strip().split("\n")) if text.strip() else ()


def _text(record: dict[str, Any], part: str, field: str, key: str) -> str:
    value = _value(record, part, field, key)
    if not isinstance(value, str):
        raise BadRow(f"`{field}` is {_kind(value)}, not a text", f'write the {part} in quotes, as "…"')
    if not value.strip():
        raise BadRow(f"`{field}` is empty", f"write the {part} or take the row out")
    _refuse_half_characters(value, field)
    return value


def _label(record: dict[str, Any], part: str, field: str | None, key: str) -> str | None:
    if field is None:
        return None
    value = _value(record, part, field, key)
    if value is not None and (not isinstance(value, str) or not value):
        shown = "empty" if value == "" else f"{_kind(value)}, not a text"
        raise BadRow(f"`{field}` is {shown}", f"write the {part} as a text, or null")
    return value


def _id(record: dict[str, Any], field: str, key: str) -> str:
    value = _value(record, "id", field, key)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not is_number and (not isinstance(value, str) or not value.strip()):
        shown = "empty" if isinstance(value, str) else f"{_kind(value)}, not a text or whole number"
        raise BadRow(f"`{field}` is {shown}", f"give the row an id, or set {key}.fields.id=null to number the rows")
    return str(value)


def _value(record: dict[str, Any], part: str, field: str, key: str) -> Any:
    """The value of `field`, a dot reaching into an object; a name with a dot in it comes first."""
    value: Any = record
    for name in [field] if field in record else field.split("."):
        if not isinstance(value, dict) or name not in value:
            known = [str(known) for known in record]
            raise BadRow(
                f"the field `{field}` is missing{_did_you_mean(field, known)}; the row has {', '.join(known)}",
                f"name the row's own field in {key}.fields.{part}",
            )
        value = value[name]
    return value


def _refuse_half_characters(text: str, field: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadRow(
            f"`{field}` holds half a character, \\u{ord(text[error.start]):04x}",
            "write both halves of the surrogate pair, or the character itself",
        ) from error


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a truth value"
        case int() | float():
            return f"the number {value}"
        case str():
            return "a text"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return f"a {type(value).__name__}"


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean `{near[0]}`?" if near else ""


def _shortened(text: str) -> str:
    shown = " ".join(text.split())
    return repr(shown if len(shown) <= 60 else shown[:59] + "…")
