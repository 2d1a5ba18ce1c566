"""What a run says about its data: the card's figures, and one example as the model sees it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from tunix_exp.data.batch import Batch
from tunix_exp.data.batches import BatchStatistics
from tunix_exp.data.config import DataConfig, Learn, MixedConfig
from tunix_exp.data.example import Example
from tunix_exp.data.picture import marked, pictured
from tunix_exp.data.sources import ExampleSet, SourceFacts
from tunix_exp.data.statistics import TokenStatistics
from tunix_exp.data.tokenizer import Tokenizer
from tunix_exp.data.tokens import TokenizedExample


class SetFacts(NamedTuple):
    """What the card says of one training set; a stage has steps."""

    examples: ExampleSet
    statistics: TokenStatistics
    steps: int | None


def data_card(
    config: DataConfig,
    sets: Mapping[str, SetFacts],
    examples: ExampleSet,
    statistics: TokenStatistics,
    batches: BatchStatistics,
    tokenizer: Tokenizer,
    *,
    row_tokens: int,
    eval_name: str | None,
    eval_facts: SourceFacts | None,
    overlap_count: int | None,
) -> dict[str, Any]:
    """The sets, their hashes, what became of their rows, and how text was made, ready for JSON.

    `examples` and `statistics` are of all training sets together; of a mixture each has its own besides. The
    three about evaluation are None together, where nothing is evaluated.
    """
    return {
        "train": _train(config, sets, examples),
        "eval": None if eval_facts is None else {"name": eval_name, **asdict(eval_facts)},
        "overlap": {"training_questions_held_out": overlap_count, "allowed": config.allow_eval_overlap},
        "composition": composition(examples),
        "statistics": asdict(statistics),
        "batches": asdict(batches),
        "limits": {
            "max_tokens": config.max_tokens,
            "row_tokens": row_tokens,
            "too_long": config.too_long,
        },
        "fields": config.fields.model_dump(),
        "template": config.template.model_dump(),
        "learn": config.learn,
        "tokenizer": {
            "reference": tokenizer.reference,
            "revision": tokenizer.revision,
            "digest": tokenizer.digest,
            "chat_template_sha256": tokenizer.own_chat.sha256 if tokenizer.own_chat else None,
            "vocab_size": tokenizer.vocab_size,
            "bos_ids": list(tokenizer.bos_ids),
            "eos_id": tokenizer.eos_id,
            "end_id": tokenizer.end_id,
            "pad_id": tokenizer.pad_id,
        },
    }


def _train(config: DataConfig, sets: Mapping[str, SetFacts], examples: ExampleSet) -> dict[str, Any]:
    facts = examples.facts
    if config.mix is None:
        return {"name": config.name, **asdict(facts)}
    return {
        "name": config.name,
        "rows": facts.rows,
        "rows_read": facts.rows_read,
        "sha256": facts.sha256,
        "sets": {
            name: {
                **_turn(config.mix[name], one.steps),
                **asdict(one.examples.facts),
                "only": config.mix[name].only,
                "max_rows": config.mix[name].max_rows,
                "composition": composition(one.examples),
                "statistics": asdict(one.statistics),
            }
            for name, one in sets.items()
        },
    }


def _turn(one: MixedConfig, steps: int | None) -> dict[str, float | int | None]:
    return {"steps": steps, "epochs": one.epochs} if one.is_stage else {"weight": one.weight}


def composition(examples: Sequence[Example]) -> dict[str, dict[str, int]]:
    """How many examples have each label, the commonest first; a label that none has is an empty mapping."""
    found = {}
    for label in ("section", "category", "difficulty"):
        is_set = isinstance(examples, ExampleSet)
        named = examples.examples.column(label) if is_set else (getattr(one, label) for one in examples)
        found[label] = dict(Counter(name for name in named if name is not None).most_common())
    return found


def example_text(tokenized: TokenizedExample, tokenizer: Tokenizer, learn: Learn) -> str:
    """The example as the model sees it: its parts, its text over the loss mask, and every token."""
    example = tokenized.example
    ids = [int(token) for token in tokenized.tokens_T]
    lines = [
        f"example   {example.id} ({example.place})",
        f"tokens    {len(ids)}: prompt {tokenized.prompt_length}, response {tokenized.response_length}",
        f"learnt    {int(tokenized.learnt_T.sum())} (data.learn={learn})",
        "",
        *_parts(example),
        "",
        "as the model sees it;  . is read only   ^ is learned",
        *(f"  {line}" for line in marked(pictured(ids, tokenized.learnt_T.tolist(), tokenizer))),
        "",
        "place  id      loss  token",
    ]
    for place, (token, is_learned) in enumerate(zip(ids, tokenized.learnt_T, strict=True)):
        ends = "  (end)" if token == tokenizer.end_id and is_learned else ""
        shown = repr(tokenizer.decode([token]))
        lines.append(f"{place:<6} {token:<7} {'^' if is_learned else '.'}     {shown}{ends}")
    return "\n".join(lines) + "\n"


def _parts(example: Example) -> Iterator[str]:
    if not example.question:
        yield from ("document", *_indented(example.answer))
        return
    yield from ("question", *_indented(example.question), "reasoning")
    for step in example.steps:
        yield from _indented(step)
    if not example.steps:
        yield "  (none)"
    yield from ("answer", *_indented(example.answer))


def rows_text(batch: Batch) -> str:
    """What each row of the batch holds: its examples with their tokens, and its padding."""
    count, width = batch.tokens_BT.shape
    lines = [f"the first batch of the training: {count} rows of {width} tokens"]
    names = iter(batch.example_ids)
    for row, segment_ids_T in enumerate(batch.segment_ids_BT):
        lengths = [int((segment_ids_T == segment).sum()) for segment in range(1, segment_ids_T.max() + 1)]
        held = [f"{next(names)} {length}" for length in lengths]
        held += [f"padding {width - sum(lengths)}"] if sum(lengths) < width else []
        lines.append(f"row {row:<4} {' | '.join(held)}")
    return "\n".join(lines) + "\n"


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.split("\n")]
