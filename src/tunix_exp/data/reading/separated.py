"""Tables of text: cells between commas, semicolons or tabs, quoted where they hold one (RFC 4180).

A cell is text: `007` and `NA` stay what they are. An empty cell is an empty text.
"""

import csv
import itertools
from collections.abc import Iterator, Sequence
from functools import partial

from tunix_exp.data.reading import text
from tunix_exp.data.reading.json_lines import HASHED
from tunix_exp.data.reading.part import BadRow, Part, Raw, Seen
from tunix_exp.errors import UserError

NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}
_LOOKED_AT = 100
_LONGEST_CELL = 2**30


def part(content: text.Content, name: str, stem: str, where: str, *, separators: str = ",;\t") -> Part:
    """The rows below the header; the separator is the one that gives every row the header's cells."""
    csv.field_size_limit(_LONGEST_CELL)
    separator = _separator(content, separators, name, where)
    header = _header(content, separator, name, where)

    def rows(seen: Seen) -> Iterator[Raw]:
        for line, cells in itertools.islice(_records(content, separator, seen, name, where), 1, None):
            yield line, line, cells

    kind = f"table with {NAMES[separator]} between its cells"
    return Part(name, stem, kind, HASHED, rows, partial(_record, header, NAMES[separator]))


def _record(header: Sequence[str], separated_by: str, cells: list[str]) -> dict[str, str]:
    if len(cells) != len(header):
        raise BadRow(
            f"the row has {len(cells)} cells between {separated_by}, the header {len(header)}",
            'put cells that hold a separator or a line end into quotes, "…", and write a quote in them twice',
        )
    return dict(zip(header, cells, strict=True))


def _records(
    content: text.Content, separator: str, seen: Seen, name: str, where: str
) -> Iterator[tuple[int, list[str]]]:
    """The cells of each record, and the line on which it begins; blank lines are counted."""
    lines = (f"{line}\n" for line in text.lines(content, seen, name, where))
    reader = csv.reader(lines, delimiter=separator, strict=True)
    before = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(
                f"{name}:{before + 1} is no row of cells: {error}",
                where=where,
                remedy='close every quote, and write a quote inside of quotes twice: "a ""b"" c"',
            ) from error
        if cells:
            yield before + 1, cells
        else:
            seen.counts["blank_lines"] += 1
        before = reader.line_num


def _separator(content: text.Content, separators: str, name: str, where: str) -> str:
    """The only one of them that splits the header and gives the first rows as many cells."""
    fitting = []
    for separator in separators:
        try:
            records = _records(content, separator, Seen(), name, where)
            counts = [len(cells) for _, cells in itertools.islice(records, _LOOKED_AT)]
        except UserError:
            if len(separators) == 1 or (separator == separators[-1] and not fitting):
                raise
            continue
        if counts and counts[0] > 1:
            fitting.append((sum(count != counts[0] for count in counts), separator))
    if not fitting:
        return separators[0]  # one column, or nothing at all
    fewest = min(fitting)[0]
    best = [separator for misfits, separator in fitting if misfits == fewest]
    if len(best) > 1:
        raise UserError(
            f"`{name}` can be read with {' or with '.join(NAMES[one] for one in best)} between its cells",
            where=where,
            remedy="save it with tabs, as a file that ends in .tsv, or quote the names of the header",
        )
    return best[0]


def _header(content: text.Content, separator: str, name: str, where: str) -> list[str]:
    first = next(_records(content, separator, Seen(), name, where), None)
    if first is None:
        return []
    line, names = first
    twice = sorted({column for column in names if names.count(column) > 1})
    if twice:
        raise UserError(
            f"{name}:{line} names the column {twice[0]!r} twice",
            where=where,
            remedy="give each column its own name",
        )
    return names
