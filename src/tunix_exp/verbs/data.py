"""`python -m tunix_exp data WORDS…`: what the model will see of the data, before a run."""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from rich.text import Text

from tunix_exp import config as configs
from tunix_exp.config import RunConfig
from tunix_exp.data.histogram import histogram
from tunix_exp.data.limit import Limit
from tunix_exp.data.overlap import SharedRuns, shared_runs
from tunix_exp.data.picture import pictured
from tunix_exp.data.sources import ExampleSet
from tunix_exp.data.tokenizer import Tokenizer, load_tokenizer
from tunix_exp.data.tokens import Tokens
from tunix_exp.errors import UserError
from tunix_exp.evaluation.config import refuse_lacking
from tunix_exp.evaluation.items import read_rows
from tunix_exp.evidence.console import plain_console
from tunix_exp.exits import COMPLETED
from tunix_exp.numbers import counted
from tunix_exp.verbs import Composed
from tunix_exp.verbs import data_look as look
from tunix_exp.verbs.data_look import Section
from tunix_exp.verbs.words import Words

if TYPE_CHECKING:
    from tunix_exp.objectives.objective import TrainingSet
    from tunix_exp.stages.texts.read import HeldOut
    from tunix_exp.stages.texts.rows import TrainingRows

_MOST_SHOWN = 5


def main(words: list[str], composed: Composed) -> int:
    """Completed when all of it is shown; what a run would refuse is a UserError."""
    parser = Words("data", "Show what the model will see of an experiment's data; nothing is run.")
    parser.add_argument("words", nargs="*", metavar="WORD", help="key=value, as for an experiment")
    parser.add_argument("--rows", type=_count, default=3, metavar="N", help="how many rows are rendered (3)")
    parser.add_argument("--id", metavar="ID", help="render this row instead")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    asked = parser.parse_intermixed_args(words)
    config = configs.validate(composed(asked.words))
    refuse_lacking(config.eval)
    console = plain_console()
    is_coloured = console.is_terminal and console.color_system is not None and not console.no_color
    view = _View(asked.rows, asked.id, is_coloured=is_coloured)
    sections = _sections(config, view)
    if asked.json:
        facts = {section.name: section.facts for section in sections}
        print(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        for number, section in enumerate(sections):
            console.print("\n" * (number > 0) + section.heading, style="bold", soft_wrap=True)
            for line in section.lines:
                console.print("  " * bool(line), line, sep="", soft_wrap=True)
    for refuse in view.refusals:
        refuse()
    return COMPLETED


@dataclass
class _View:
    """What is asked to be shown, and how; `refusals` raise what only the end of the look has to say."""

    rows: int
    id: str | None
    is_coloured: bool
    refusals: list[Callable[[], None]] = field(default_factory=list)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no count from 1 on")
    return int(text)


def _sections(config: RunConfig, view: _View) -> Iterator[Section]:
    """One after another, each as soon as it is known."""
    # Imports JAX, which a wrong config need not wait for; nothing is computed with it.
    from tunix_exp.objectives import registry
    from tunix_exp.stages.texts.read import fitted, held_out_items
    from tunix_exp.stages.texts.rows import training_rows

    sets = tuple(config.data.mix or ())
    if view.id is not None and sets and view.id.partition(":")[0] not in sets:
        remedy = f"in a mixture an id begins with its set: {', '.join(f'{name}:' for name in sets)}"
        raise UserError(f"no row has the id {view.id!r}", where="--id", remedy=remedy)
    tokenizer = fitted(load_tokenizer(config.model.tokenizer, chat="none"), config)
    read = read_rows(config.data, config.eval)
    if len(read) == 1:
        yield from map(_source, read.values())
    trained = training_rows(read, config, registry.objective(config.objective, sets), tokenizer)
    for one in trained.sets:
        of_set = [*([_source(one.examples)] if one.name else []), *_of_set(one, trained.row, tokenizer, view)]
        yield from (_named(section, one.name) for section in of_set)
    yield _batches(trained, view)
    yield from (_named(_special_names(one, tokenizer), one.name) for one in trained.sets)
    held_out = held_out_items(config, read, tokenizer)
    if held_out is None:
        where = "none" if config.eval.kind == "none" else "in the harness's tasks, which are not read here"
        yield Section("held_out", None, f"held-out items: {where} (eval={config.eval.name})", ())
        return
    yield _held_out(held_out, is_split=any(one.held_out is held_out.examples for one in read.values()))
    yield _overlap(trained.examples, held_out)
    if not config.data.allow_eval_overlap:
        view.refusals.append(lambda: held_out.refuse_shared(trained.examples))


def _named(section: Section, name: str) -> Section:
    """The section as that of one set of a mixture, where it has a name."""
    if not name:
        return section
    return section._replace(name=f"{name}.{section.name}", heading=f"{name}: {section.heading}")


def _source(examples: ExampleSet) -> Section:
    facts = examples.facts
    return Section("source", asdict(facts), f"training rows: {facts.source}", [*look.source_lines(facts)])


def _of_set(one: "TrainingSet", limit: Limit, tokenizer: Tokenizer, view: _View) -> Iterator[Section]:
    """The rows of a set, and how long they are."""
    if view.id is None or not one.name or view.id.startswith(f"{one.name}:"):
        yield _rows(one, limit, tokenizer, view)
    yield _lengths(one, limit)


def _held_out(held_out: "HeldOut", *, is_split: bool) -> Section:
    """As of the training rows, and the names of special tokens in the items' text."""
    source, names = held_out.examples.facts, held_out.special_names
    lines = look.split_lines(source) if is_split else look.source_lines(source)
    heading = f"held-out items: {'of the training set' if is_split else source.source}"
    facts = {**asdict(source), "special_tokens": asdict(names)}
    return Section("held_out", facts, heading, [*lines, *([names.describe()] if names.rows else [])])


def _rows(one: "TrainingSet", limit: Limit, tokenizer: Tokenizer, view: _View) -> Section:
    """Some of the rows, each whole, with its mask."""
    kept = one.tokenized.kept
    names = _places(kept, view.rows) if view.id is None else _places_of(view.id, one, limit)
    lines: list[str | Text] = [look.legend(is_coloured=view.is_coloured)]
    facts = []
    for place, name in names.items():
        row = kept[place]
        learnt = int(row.learnt_T.sum())
        picture = pictured(row.tokens_T.tolist(), row.learnt_T.tolist(), tokenizer)
        heading = f"{row.example.id} ({row.example.place}){name}: {len(row.tokens_T)} tokens, {learnt} learnt"
        lines += ["", heading, *look.picture_lines(picture, is_coloured=view.is_coloured)]
        facts.append(
            {
                "id": row.example.id,
                "place": row.example.place,
                "tokens": len(row.tokens_T),
                "prompt_tokens": row.prompt_length,
                "learnt_tokens": learnt,
                "lines": [[stretch._asdict() for stretch in line] for line in picture],
            }
        )
    return Section(
        "rows", facts, f"{len(facts)} of {counted(len(kept), _unit(one))}, as the model sees them", lines
    )


def _places(kept: Tokens, count: int) -> dict[int, str]:
    """The first, the longest, and between them some at equal distances, in their order."""
    longest = int(kept.lengths_K.argmax())
    spread = np.linspace(0, len(kept) - 1, count + 1 - count % 2).round().astype(int).tolist()
    middle = [place for place in spread[1:-1] if place not in (0, longest)]
    chosen = list(dict.fromkeys([0, longest, *middle, *range(min(count, len(kept)))]))[:count]
    names = {0: ", the first", longest: ", the longest"} if longest else {0: ", the first and longest"}
    return {place: names.get(place, "") for place in sorted(chosen)}


def _places_of(id_: str, one: "TrainingSet", limit: Limit) -> dict[int, str]:
    """The row of that id, or all pieces of that document."""
    ids, kept = one.examples.examples.column("id"), one.tokenized.kept
    number = next((number for number, other in enumerate(ids) if other == id_), None)
    if number is None:
        raise UserError(
            f"no row has the id {id_!r}",
            where="--id",
            remedy=f"ids are as {one.examples[0].id!r}, the first; data.fields.id names the field of ids",
        )
    first, end = np.searchsorted(kept.flat.index_K, [number, number + 1]).tolist()
    if first == end:
        raise UserError(
            f"the row {id_!r} is longer than {limit.tokens} tokens, and left out",
            where="data.max_tokens",
            remedy="raise data.max_tokens, or set data.too_long=shorten",
        )
    return dict.fromkeys(range(first, end), "")


def _unit(one: "TrainingSet") -> str:
    """What is learnt as one: documents are cut into pieces."""
    return "piece" if "text" in one.examples.facts.fields else "row"


def _lengths(one: "TrainingSet", limit: Limit) -> Section:
    bins, statistics = histogram(one.tokenized.kept.lengths_K), one.tokenized.statistics
    facts = {
        "histogram": [bin_._asdict() for bin_ in bins],
        "max_tokens": limit.tokens,
        "statistics": asdict(statistics),
    }
    return Section(
        "lengths",
        facts,
        f"tokens per {_unit(one)}",
        tuple(look.length_lines(bins, statistics, limit)),
    )


def _batches(trained: "TrainingRows", view: _View) -> Section:
    """How much of a batch is padding; of packed rows also what some of them hold."""
    statistics = trained.batches.statistics()
    lines = [statistics.describe(), *statistics.describe_sets()]
    if statistics.batching == "packed":
        lines += trained.batches.text(0).splitlines()[: 1 + view.rows]
    return Section("batches", asdict(statistics), "batches", lines)


def _special_names(one: "TrainingSet", tokenizer: Tokenizer) -> Section:
    """The names that the rows' own text contains, each with the first row that does."""
    found = one.tokenized.statistics.special_names
    # What no row has is in the text that is put before all of them.
    places = dict.fromkeys(found.names, "data.template.system")
    left = set(found.names)
    for example in one.examples if left else ():
        texts = (example.question, *example.steps, example.answer, *(text for _, text in example.messages))
        if tokenizer.specials.is_in(texts):
            here = left & tokenizer.specials.count(texts).keys()
            places |= dict.fromkeys(here, example.place)
            left -= here
            if not left:
                break
    named = {name: {"count": count, "place": places[name]} for name, count in found.names.items()}
    lines = tuple(look.name_lines(found.rows, named))
    return Section("special_tokens", {"rows": found.rows, "names": named}, "names of special tokens", lines)


def _overlap(examples: ExampleSet, held_out: "HeldOut") -> Section:
    """What training rows share with the held-out items: whole questions, and runs of words."""
    items = held_out.examples
    runs = shared_runs(examples, items)
    kinds = {
        "questions": SharedRuns(
            len(held_out.shared),
            len({one.item for one in held_out.shared}),
            tuple(held_out.shared[:_MOST_SHOWN]),
        ),
        "runs": runs,
    }
    lines: list[str] = []
    facts = {}
    for kind, (rows, items_found, first) in kinds.items():
        places = [(examples[one.row].place, items[one.item].place, one.text) for one in first]
        lines += look.overlap_lines(kind, rows, items_found, places)
        shown = [{"row": row, "item": item, "text": text} for row, item, text in places]
        facts[kind] = {"rows": rows, "items": items_found, "first": shown}
    return Section("overlap", facts, "overlap with the held-out items", lines)
