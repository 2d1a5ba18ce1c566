"""JSON lines: one object a line."""

from collections.abc import Iterator

from tunix_exp.data.reading import text, values
from tunix_exp.data.reading.part import Part, Raw, Seen

KIND = "JSON lines"
HASHED = "file bytes with LF line ends"


def part(content: text.Content, name: str, stem: str, where: str) -> Part:
    """The rows of the file; a blank line is none, and is counted."""

    def rows(seen: Seen) -> Iterator[Raw]:
        for number, line in enumerate(text.lines(content, seen, name, where), start=1):
            if not line or line.isspace():
                seen.counts["blank_lines"] += 1
            else:
                yield number, number, line

    return Part(name, stem, KIND, HASHED, rows, values.parse)
