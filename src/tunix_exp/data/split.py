"""A training set in two: rows to train on, and held-out items."""

import hashlib
import math
from array import array
from dataclasses import replace

import numpy as np

from tunix_exp.data import cache
from tunix_exp.data.example import normalised
from tunix_exp.data.sources import ExampleSet, SourceFacts
from tunix_exp.data.table import ExampleTable, mapped
from tunix_exp.errors import UserError
from tunix_exp.numbers import counted

_TRAINED, _ITEMS = "trained.arrow", "items.arrow"


def split(examples: ExampleSet, share: float, max_items: int | None) -> ExampleSet:
    """The rows to train on, whose `held_out` are the items; no question is on both sides.

    A row is held out where the first 64 bits of the SHA-256 of its question, in lower case and with single
    blanks, are below `share` of 2⁶⁴. So neither other rows nor their order nor the seed change its side, and
    a larger share holds out the same rows and more. The question of a conversation is the message before its
    last answer. Of the rows with one question the first is the item, and `max_items` limits the items alone.
    Raises UserError for documents, and where a side is empty.
    """
    if "text" in examples.facts.fields:
        raise UserError(
            "documents have no question by which they could be held out",
            where="eval.source=data",
            remedy="name a file of held-out items (eval=jsonl eval.source=FILE), or set eval=none",
        )
    folder = cache.folder_within(examples.kept_in, "split", share)
    if folder is None:
        trained, items = _parts(examples.examples, share)
    else:
        if not cache.is_whole(folder):
            with cache.building(folder) as made:
                _parts(examples.examples, share, str(made / _TRAINED), str(made / _ITEMS))
        trained, items = mapped(str(folder / _TRAINED)), mapped(str(folder / _ITEMS))
    held_out = len(examples) - len(trained)
    _refuse_empty(len(examples), held_out, share)
    counts = {**examples.facts.counts, "held_out": held_out}
    facts = replace(examples.facts, counts=dict(sorted(counts.items())))
    scored = items[:max_items]
    facts_of_items = _facts_of_items(facts, held_out, held_out - len(items), len(scored))
    return ExampleSet(trained, facts, folder, ExampleSet(scored, facts_of_items))


def _parts(
    examples: ExampleTable, share: float, trained: str | None = None, items: str | None = None
) -> tuple[ExampleTable, ExampleTable]:
    """The rows to train on and the items, in these files where they are named."""
    bound = math.ceil(share * 2**64).to_bytes(8)
    is_held_out = bytearray()
    # Items are told apart by the next 64 bits: of ten million, none clash by chance.
    questions = array("Q")
    for question in examples.column("question"):
        digest = hashlib.sha256(normalised(question).encode()).digest()
        is_held_out.append(digest < bound)
        if is_held_out[-1]:
            questions.append(int.from_bytes(digest[8:16]))
    is_held_out_N = np.frombuffer(is_held_out, bool)
    _, first_U = np.unique(np.array(questions, np.uint64), return_index=True)
    is_item_N = np.zeros(len(is_held_out_N), bool)
    is_item_N[np.flatnonzero(is_held_out_N)[first_U]] = True
    return examples.where(~is_held_out_N, trained), examples.where(is_item_N, items)


def _facts_of_items(facts: SourceFacts, held_out: int, repeated: int, scored: int) -> SourceFacts:
    """Of where the items come from; how the fields were found is told of the training rows."""
    return replace(
        facts,
        source="data",
        rows=held_out,
        rows_read=scored,
        revision=None,
        guessed={},
        absent=(),
        unread=(),
        counts={"questions_of_earlier_items": repeated} if repeated else {},
    )


def _refuse_empty(rows: int, held_out: int, share: float) -> None:
    if not 0 < held_out < rows:
        raise UserError(
            f"eval.share={share} holds out {held_out} of {counted(rows, 'row')}"
            + (": none is left to train on" if held_out else ": nothing could be scored"),
            where="eval.share",
            remedy=f"{'lower' if held_out else 'raise'} it, or name a file of held-out items: eval=jsonl"
            " eval.source=FILE",
        )
