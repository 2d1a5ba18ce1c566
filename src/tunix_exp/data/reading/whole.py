"""Plain text: a file is one document."""

from collections.abc import Iterator
from typing import Any

from tunix_exp.data.reading import text
from tunix_exp.data.reading.json_lines import HASHED
from tunix_exp.data.reading.part import Part, Raw, Seen

KIND = "plain text"


def part(content: text.Content, name: str, stem: str, where: str) -> Part:
    """One row with the whole `text`."""

    def rows(seen: Seen) -> Iterator[Raw]:
        document = "".join(text.chunks(content, seen, name, where))
        if document.strip():
            yield 1, 1, document

    return Part(name, stem, KIND, HASHED, rows, _record)


def _record(document: str) -> Any:
    return {"text": document}
