"""What is told of a source: what was found by looking, read past, or read in another form."""

from collections.abc import Iterator, Mapping

from tunix_exp.data.sources import SourceFacts

_WORDS = {
    "blank_lines": ("blank line", "blank lines"),
    "byte_order_marks": ("byte-order mark", "byte-order marks"),
    "windows_line_ends": ("Windows line end", "Windows line ends"),
    "filtered_out": ("row left out by `only`", "rows left out by `only`"),
    "held_out": ("row held out for the evaluation", "rows held out for the evaluation"),
    "questions_of_earlier_items": (
        "row with the question of an earlier item, held out and not scored",
        "rows with the question of an earlier item, held out and not scored",
    ),
    "equal_rows": ("row equal to an earlier one", "rows equal to an earlier one"),
    "equal_questions_with_other_answers": (
        "row with the question of an earlier one and another answer",
        "rows with the question of an earlier one and another answer",
    ),
    "numbers_as_text": ("number read as text in `{}`", "numbers read as text in `{}`"),
    "truth_values_as_text": ("truth value read as text in `{}`", "truth values read as text in `{}`"),
    "empty": ("row with an empty `{}`", "rows with an empty `{}`"),
    "unread_in_messages": ("message with `{}`, not read", "messages with `{}`, not read"),
}


def described(counts: Mapping[str, int], fields: Mapping[str, str]) -> Iterator[str]:
    """A phrase for each count; what counts a part is told by the name of the part's field."""
    for name, count in counts.items():
        kind, _, part = name.partition(".")
        yield f"{count:,} {_WORDS[kind][count != 1].format(fields.get(part, part))}"


def told(facts: SourceFacts, key: str) -> Iterator[str]:
    """The lines of a log on what was read; `key` is the config group of the source."""
    if facts.guessed:
        found = ", ".join(f"{part} from `{name}`" for part, name in facts.guessed.items())
        yield f"{key}.format: {facts.kind}; by the names of the fields: {found}"
    for name in facts.absent:
        yield f"{key}: no row has the optional field `{name}`"
    if facts.unread:
        yield f"{key}: fields that are not read: {', '.join(facts.unread)}"
    if facts.counts:
        yield f"{key}: {'; '.join(described(facts.counts, facts.fields))}"
