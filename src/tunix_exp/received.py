"""Files of folders that others made: read as what they claim to be, or refused with what they are."""

from pathlib import Path
from typing import Any

from tunix_exp import json_text
from tunix_exp.errors import UserError
from tunix_exp.json_text import BadJSON

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
# Written with PyTorch and transformers, where a pickle is trusted: weights as safetensors, and the tokenizer.
UNPICKLE = (
    'python -c "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T;'
    " M.from_pretrained('{place}', dtype='auto').save_pretrained('./converted');"
    " T.from_pretrained('{place}').save_pretrained('./converted')\""
)
AGAIN = "fetch the folder again, whole, or name another one"
_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "UTF-8", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_MOST_DEPTH = 60
_MOST_SHOWN = 100


def file_in(folder: Path, name: str) -> Path | None:
    """The file `name` of `folder`, ready to be read, or None where there is none.

    Raises UserError for what is no file of the folder's own: a folder, a link that leads out of it (in the
    Hub's cache, a snapshot's files link to blobs), the pointer of a file that Git LFS has not fetched.
    """
    file = folder / name
    try:
        if not file.is_symlink() and not file.exists():
            return None
        target = file.resolve(strict=True)
        if not any(target.is_relative_to(place) for place in _places(folder)):
            raise UserError(
                f"{name} is a link that leads out of the folder, to {target}",
                where=str(folder),
                remedy="copy the file into the folder, if it is what you want read",
            )
        if not target.is_file():
            kind = "a folder" if target.is_dir() else "a device"
            raise UserError(f"{name} is {kind}, not a file", where=str(folder), remedy=AGAIN)
        with file.open("rb") as stream:
            begin = stream.read(len(LFS_POINTER))
    except (OSError, RuntimeError) as error:  # a link to itself is a RuntimeError before Python 3.13
        raise unreadable(file, error) from error
    if begin == LFS_POINTER:
        raise lfs_pointer(file)
    return file


def read_object(file: Path) -> dict[str, Any]:
    """The object that a JSON file holds; raises UserError with the line of what it is not."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise unreadable(file, error) from error
    if not content.strip():
        raise UserError(f"{file.name} is empty", where=str(file), remedy=AGAIN)
    try:
        value = json_text.parse(_decoded(content, file))
    except BadJSON as fault:
        line = "" if fault.line is None else f", line {fault.line}"
        raise UserError(f"{file.name} {fault.what}", where=f"{file}{line}", remedy=AGAIN) from fault
    if not isinstance(value, dict):
        raise UserError(
            f"{file.name} holds {kind_of(value)}, not a JSON object", where=str(file), remedy=AGAIN
        )
    if _is_deep(value):
        raise UserError(f"{file.name} is nested too deep", where=str(file), remedy=AGAIN)
    return value


def lfs_pointer(file: Path) -> UserError:
    """The refusal of a file of which Git has fetched the pointer alone."""
    return UserError(
        f"{file.name} is a Git LFS pointer: the file that it stands for was not fetched",
        where=str(file),
        remedy="type `git lfs pull` in its folder",
    )


def unreadable(file: Path, error: Exception) -> UserError:
    """The refusal of a file that the system does not give."""
    what = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    absent = isinstance(error, FileNotFoundError)
    return UserError(
        f"{file.name} is a link to a file that is not there"
        if absent
        else f"{file.name} cannot be read: {what}",
        where=str(file),
        remedy=AGAIN if absent else "make the file readable",
    )


def shown(value: object) -> str:
    """What a file holds, as it can be told: short, and nothing in it that cannot be written."""
    return named(repr(value))


def named(text: str) -> str:
    """A name out of a file, likewise."""
    text = json_text.printable(text)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…"


def kind_of(value: object) -> str:
    """What JSON calls a value."""
    kinds = {
        type(None): "null", bool: "a truth value", int: "a number", float: "a number", str: "a text",
        list: "a list", dict: "an object",
    }  # fmt: skip
    return kinds[type(value)]


def _places(folder: Path) -> list[Path]:
    """Where files of the folder may lie: in it; in the Hub's cache, with the blobs too."""
    home = folder.resolve(strict=True)
    cached = home.parent.name == "snapshots"
    return [home, home.parent.parent / "blobs"] if cached else [home]


def _decoded(content: bytes, file: Path) -> str:
    remedy = "save it as UTF-8 without a byte-order mark"
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            raise UserError(
                f"{file.name} begins with a byte-order mark ({encoding})", where=str(file), remedy=remedy
            )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{file.name} is not UTF-8 (byte {error.start})", where=f"{file}, line {line}", remedy=remedy
        ) from error


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(_MOST_DEPTH):
        level = [part for whole in level for part in _parts(whole)]
        if not level:
            return False
    return True


def _parts(value: object) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
