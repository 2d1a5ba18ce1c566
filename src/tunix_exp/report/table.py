"""A table, written once: for a terminal, for Markdown, and (by the page's templates) for a browser."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable

from tunix_exp.evidence.console import table_text
from tunix_exp.report.markdown import named
from tunix_exp.report.markdown import table as markdown_table

Cells = tuple[str, ...]
_WIDTH = 80  # of a terminal
_SHORT_NAME = 13


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text in groups; the first `n_names` columns are names, the others figures."""

    title: str
    columns: Cells
    groups: tuple[tuple[Cells, ...], ...]
    n_names: int = 1
    note: str = ""

    @property
    def rows(self) -> list[Cells]:
        """All rows, without their groups."""
        return [row for group in self.groups for row in group]


def as_text(table: Table, sentences: Sequence[str] = ()) -> str:
    """The table on a terminal, and below it the note and the sentences."""
    shown = RichTable(
        title=table.title, title_justify="left", title_style="bold", box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0), pad_edge=False, show_edge=False,
    )  # fmt: skip
    for place, column in enumerate(table.columns):
        is_name = place < table.n_names
        # a long name is folded, not cut, and a short one neither
        longest = max(len(text) for text in (column, *(row[place] for row in table.rows)))
        shown.add_column(
            column,
            min_width=min(longest, _SHORT_NAME) if is_name else None,
            justify="left" if is_name else "right",
            no_wrap=not is_name,
            overflow="fold" if is_name else "ellipsis",
        )
    for group in table.groups:
        for row in group:
            shown.add_row(*row)
        shown.add_section()
    below = [table.note] if table.note else []
    return "\n\n".join([table_text(shown), *(textwrap.fill(text, _WIDTH) for text in (*below, *sentences))])


def as_markdown(table: Table) -> str:
    """The table, and below it the note."""
    rows = [[*map(named, row[: table.n_names]), *row[table.n_names :]] for row in table.rows]
    shown = markdown_table(list(table.columns), rows, right_from=table.n_names)
    return f"{shown}\n\n{table.note}" if table.note else shown
