"""What the model will see of a data set, in lines for a terminal, or for a file."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rich.text import Text

from tunix_exp.data.counted import described
from tunix_exp.data.example import shortened
from tunix_exp.data.histogram import Bin
from tunix_exp.data.limit import Limit
from tunix_exp.data.overlap import RUN
from tunix_exp.data.picture import Stretch, marked
from tunix_exp.data.sources import SourceFacts
from tunix_exp.data.statistics import TokenStatistics
from tunix_exp.numbers import counted, percent

_BAR = 40
_MOST_NAMED = 5
_STYLES = {
    (False, False): "dim",
    (True, False): "green",
    (False, True): "magenta",
    (True, True): "bold magenta",
}


class Section(NamedTuple):
    """A part of the look: its heading, its lines, and the same as values for JSON under `name`."""

    name: str
    facts: Any
    heading: str
    lines: Sequence[str | Text]


def source_lines(facts: SourceFacts) -> Iterator[str]:
    """What form the source has, what of it was read, and what was not."""
    files = f", {facts.files} files" if facts.files > 1 else ""
    yield f"{facts.kind}{files}: {facts.rows_read:,} of {counted(facts.rows, 'row')} read"
    for part, name in facts.fields.items():
        yield f"{part} from `{name}`{' (found by its name)' if part in facts.guessed else ''}"
    for name in facts.absent:
        yield f"no row has the optional field `{name}`"
    if facts.unread:
        yield f"fields that are not read: {', '.join(f'`{name}`' for name in facts.unread)}"
    yield from described(facts.counts, facts.fields)


def split_lines(facts: SourceFacts) -> Iterator[str]:
    """How many of the rows that are held out are items, and what the others are."""
    yield f"{facts.rows_read:,} of {counted(facts.rows, 'row')} held out are scored"
    yield from described(facts.counts, facts.fields)


def picture_lines(lines: Sequence[Sequence[Stretch]], *, is_coloured: bool) -> Iterator[str | Text]:
    """The text in the colours of its mask, or over its marks."""
    if not is_coloured:
        yield from marked(lines)
        return
    for line in lines:
        yield Text.assemble(*((stretch.text, _STYLES[stretch[1:]]) for stretch in line))


def legend(*, is_coloured: bool) -> str | Text:
    """How the mask is shown."""
    if not is_coloured:
        return "^ is learnt   . is read only"
    return Text.assemble(
        ("learnt", "green"), "  ", ("read only", "dim"), "  special token: ",
        ("learnt", "bold magenta"), "  ", ("read only", "magenta"),
    )  # fmt: skip


def length_lines(bins: Sequence[Bin], statistics: TokenStatistics, row: Limit) -> Iterator[str | Text]:
    """Bars of how many rows have how many tokens, and what became of those that are too long."""
    most = max(one.number for one in bins)
    width = len(str(bins[-1].high))
    figures = max(len(f"{one.number:,}") for one in bins)
    for low, high, number in bins:
        span = f"{low:>{width}} to {high:>{width}}" if high > low else f"{low:>{width}}{'':{width + 4}}"
        bar = "█" * max(round(_BAR * number / most), number > 0)
        yield Text.assemble(f"{span}  {number:>{figures},}", (f"  {bar}" if bar else "", "cyan"))
    total = statistics.total_tokens
    yield f"median {total.p50:.0f}, 95th percentile {total.p95:.0f}, longest {total.max}"
    yield f"learnt: {percent(statistics.supervised_share)} of the tokens"
    yield f"data.max_tokens is {row.tokens}{f': {row.reason}' if row.reason else ''}"
    if statistics.pieces != statistics.rows_kept:
        yield f"{counted(statistics.rows_kept, 'document')} in {counted(statistics.pieces, 'piece')}"
    for what, ids in (
        ("shortened to fit", statistics.shortened_ids),
        ("left out, too long", statistics.dropped_ids),
    ):
        if ids:
            yield f"{what}: {counted(len(ids), 'row')} ({_some(ids)})"


def overlap_lines(kind: str, rows: int, items: int, first: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """How many rows share what with how many items, and the first of them with their places."""
    shared = {
        "questions": "the question of an item",
        "runs": f"{RUN} consecutive words of an item's question",
    }
    of = f", {counted(items, 'item')}" if rows else ""
    yield f"{shared[kind]}: {counted(rows, 'row')}{of}"
    for row_place, item_place, text in first:
        yield f"  {row_place} and {item_place}: {shortened(text, 100)}"
    if rows > len(first):
        yield f"  … and {rows - len(first):,} more"


def name_lines(rows: int, names: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Which special tokens' names the rows' own text contains, how often, and one place of each."""
    if not rows:
        yield "none in the rows' own text"
        return
    yield f"in the text of {counted(rows, 'row')}, where they are text and no tokens:"
    for name, found in names.items():
        yield f"  {name}  {found['count']:,}, first in {found['place']}"


def _some(ids: Sequence[str]) -> str:
    more = f", … and {len(ids) - _MOST_NAMED:,} more" if len(ids) > _MOST_NAMED else ""
    return ", ".join(ids[:_MOST_NAMED]) + more
