"""What the file of a kind holds, by its schema; a `BrokenFile` where it does not."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from tunix_exp.errors import UserError
from tunix_exp.evidence.kinds.kind import Kind, Line
from tunix_exp.evidence.strict_json import BrokenFile, read_json_object, read_jsonl


def read_object(kind: Kind, root: Path) -> dict[str, Any]:
    """The object in the kind's file below `root`, which follows its schema."""
    value = read_json_object(root / kind.path, file=kind.path)
    validated(kind, value)
    return value


def object_if_any(kind: Kind, root: Path) -> dict[str, Any] | None:
    """The same; `None` where there is no such file."""
    return read_object(kind, root) if (root / kind.path).is_file() else None


def read_lines(kind: Kind, root: Path) -> list[dict[str, Any]]:
    """The lines of the kind's file below `root`, which follow its schema; none without the file."""
    rows, previous = plain_lines(kind, root), 0
    for line, row in enumerate(rows, start=1):
        validated(kind, row, line=line)
        if issubclass(kind.schema or dict, Line):
            if row["step"] <= previous:
                raise BrokenFile(kind.path, f"step {row['step']} follows step {previous}", line=line)
            previous = row["step"]
    return rows


def read_rows(kind: Kind, root: Path) -> list[Any]:
    """The lines as values of the kind's schema."""
    return [validated(kind, row, line=n) for n, row in enumerate(plain_lines(kind, root), start=1)]


def plain_lines(kind: Kind, root: Path) -> list[dict[str, Any]]:
    """The lines as they stand there, whatever their schema; none without the file."""
    path = root / kind.path
    return read_jsonl(path, file=kind.path) if path.is_file() else []


def validated(kind: Kind, row: dict[str, Any], *, line: int | None = None) -> Any:
    """`row` as a value of the kind's schema, or as it is where there is none."""
    return row if kind.schema is None else parsed(kind.schema, row, file=kind.path, line=line)


def parsed(schema: type[Any], row: Any, *, file: str, line: int | None = None) -> Any:
    """`row`, which stands in `file`, as a value of `schema`; a `BrokenFile` names every key that is wrong."""
    try:
        if issubclass(schema, BaseModel):
            return schema.model_validate(row)
        return schema.from_dict(row, where=file)
    except ValidationError as error:
        raise BrokenFile(file, "; ".join(map(_fault, error.errors())), line=line) from error
    except UserError as error:
        raise BrokenFile(file, error.what, line=line) from error


def _fault(error: Any) -> str:
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "missing":
        return f"has no `{key}`"
    if error["type"] == "extra_forbidden":
        return f"`{key}` is unknown"
    return f"`{key}` is {error['input']!r:.60}: {error['msg']}"
