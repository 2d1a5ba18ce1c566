"""Text files, plain or compressed: their lines, decoded, however large the file is."""

import codecs
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from tunix_exp.data.reading.part import Seen
from tunix_exp.errors import UserError

COMPRESSED = (".gz", ".zst")
_CHUNK = 2**22
_MARK = b"\xef\xbb\xbf"

Content = Path | bytes


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""
        ...


@contextmanager
def opened(content: Content) -> Iterator[Readable]:
    """A stream of the bytes, unpacked where the file's name says that it is compressed."""
    if isinstance(content, bytes):
        yield io.BytesIO(content)
    elif content.suffix == ".gz":
        with gzip.open(content) as stream:
            yield stream
    elif content.suffix == ".zst":
        import pyarrow

        with pyarrow.input_stream(str(content), compression="zstd") as stream:
            yield stream
    else:
        with content.open("rb") as stream:
            yield stream


@contextmanager
def unpacking(name: str, where: str) -> Iterator[None]:
    """What is raised inside because the file is damaged is a UserError."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(name, where, error) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise _damaged(name, where, error) from error  # Arrow's, of a damaged zstd frame


def _damaged(name: str, where: str, error: Exception) -> UserError:
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return UserError(
        f"`{name}` cannot be unpacked: {said}",
        where=where,
        remedy="fetch or compress the file again; its name must end as it is compressed (.gz, .zst)",
    )


def chunks(content: Content, seen: Seen, name: str, where: str) -> Iterator[str]:
    """The text in pieces, line ends as LF, without a byte-order mark; `seen` is complete at the end.

    Raises UserError with the line where the bytes are not UTF-8.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    digest, lines, held = hashlib.sha256(), 0, b""
    with unpacking(name, where), opened(content) as stream:
        is_first = True
        while True:
            read = _filled(stream, max(_CHUNK, len(_MARK)) if is_first else _CHUNK)
            if is_first and read.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise UserError(
                    f"{name}:1 is UTF-16, not UTF-8", where=where, remedy="save the file as UTF-8"
                )
            # A CR that ends the piece may be half of a line end.
            piece = held + read
            held = b"\r" if read and piece.endswith(b"\r") else b""
            piece = piece.removesuffix(held) if held else piece
            if b"\r\n" in piece:
                seen.counts["windows_line_ends"] += piece.count(b"\r\n")
                piece = piece.replace(b"\r\n", b"\n")
            digest.update(piece)
            if is_first and piece.startswith(_MARK):
                seen.counts["byte_order_marks"] += 1
                piece = piece.removeprefix(_MARK)
            is_first = False
            try:
                text = decoder.decode(piece, final=not read)
            except UnicodeDecodeError as error:
                raise _not_utf8(error, lines, name, where) from error
            lines += text.count("\n")
            if text:
                yield text
            if not read:
                break
    seen.digest = digest.hexdigest()


def _filled(stream: Readable, size: int) -> bytes:
    """So many bytes, or all that are left: an archive may give fewer at a time."""
    found = stream.read(size)
    while len(found) < size and (more := stream.read(size - len(found))):
        found += more
    return found


def _not_utf8(error: UnicodeDecodeError, lines: int, name: str, where: str) -> UserError:
    content: Any = error.object
    line = lines + content.count(b"\n", 0, error.start) + 1
    return UserError(
        f"{name}:{line} is not UTF-8: no character holds 0x{content[error.start]:02x} there",
        where=where,
        remedy="save the file as UTF-8",
    )


def lines(content: Content, seen: Seen, name: str, where: str) -> Iterator[str]:
    """The lines, without their ends. Only LF ends one: texts may hold U+2028 and its like."""
    rest = ""
    for chunk in chunks(content, seen, name, where):
        found = (rest + chunk).split("\n")
        rest = found.pop()
        yield from found
    if rest:
        yield rest
