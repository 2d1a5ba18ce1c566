"""What users name, in Markdown: printed as it is, whatever a renderer would make of it."""

import re

# Words, numbers and paths: nothing in them means anything to a renderer.
_PLAIN = re.compile(r"[A-Za-z0-9./](?:[A-Za-z0-9 ,./=+-]|(?<=[A-Za-z0-9])_(?=[A-Za-z0-9]))*")


def named(text: str) -> str:
    """The text where Markdown stands: as it is if nothing in it means anything there, else as code."""
    return text if _PLAIN.fullmatch(text) and text == text.strip() else verbatim(text)


def verbatim(text: str) -> str:
    """The text as a code span, in which a renderer touches nothing; line ends are shown as `⏎`."""
    line = "⏎".join(text.splitlines()) or " "
    longest = max((len(ticks) for ticks in re.findall(r"`+", line)), default=0)
    ticks = "`" * (longest + 1)
    # A span may neither begin nor end in the mark that bounds it; one space is taken off again.
    is_bare = not line.startswith("`") and not line.endswith("`") and line == line.strip()
    return f"{ticks}{line}{ticks}" if is_bare else f"{ticks} {line} {ticks}"


def table(header: list[str], rows: list[list[str]], *, right_from: int | None = None) -> str:
    """A table of cells that are Markdown already; a bar in a cell is no border."""
    rule = [
        "---:" if right_from is not None and place >= right_from else "---" for place in range(len(header))
    ]
    lines = [header, rule, *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(text: str) -> str:
    return "<br>".join(text.replace("|", "\\|").splitlines())
