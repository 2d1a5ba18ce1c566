"""The training sets as tokens and batches, and what the manifest says of them."""

from collections.abc import Mapping
from typing import NamedTuple

from tunix_exp.config import RunConfig
from tunix_exp.data.config import DataConfig
from tunix_exp.data.limit import Limit, limit, most_tokens
from tunix_exp.data.packing import rows_of
from tunix_exp.data.render import Renderer
from tunix_exp.data.sources import ExampleSet, joined
from tunix_exp.data.statistics import TokenStatistics, statistics_of_all
from tunix_exp.data.tokenize import Tokenized, tokenize
from tunix_exp.data.tokenizer import Tokenizer
from tunix_exp.evidence import sections as records
from tunix_exp.objectives.objective import Material, Objective, Source, TrainingSet


class TrainingRows(NamedTuple):
    """The training sets as tokens, the examples and statistics of all, the most tokens of a row, batches."""

    sets: tuple[TrainingSet, ...]
    examples: ExampleSet
    statistics: TokenStatistics
    row: Limit
    batches: Source


def training_rows(
    read: Mapping[str, ExampleSet], config: RunConfig, objective: Objective, tokenizer: Tokenizer
) -> TrainingRows:
    """The examples as the model sees them; raises UserError for those that it cannot see."""
    data, training, renderer = config.data, config.training, renderer_of(config, tokenizer)
    positions, widths = config.model.num_positions, training.bucket_widths
    most = most_tokens(data.max_tokens, positions=positions, bucket_widths=widths)
    how = {"positions": positions, "learn": data.learn}
    tokenized = {
        name: tokenize(one, renderer, tokenizer, most, data.too_long, **how) for name, one in read.items()
    }
    statistics = statistics_of_all([(one.kept, one.statistics) for one in tokenized.values()])
    row = limit(data.max_tokens, most=most, longest=statistics.total_tokens.max)
    sets = tuple(
        TrainingSet(name, *_turn(config, name, one, row), read[name], one) for name, one in tokenized.items()
    )
    material = Material(
        sets,
        tokenizer,
        seed=config.seed,
        batch_size=training.batch_size,
        max_tokens=row.tokens,
        batching=training.batching,
        bucket_widths=widths,
    )
    return TrainingRows(sets, joined(read), statistics, row, objective.source(material))


def _turn(config: RunConfig, name: str, tokenized: Tokenized, row: Limit) -> tuple[float | None, int | None]:
    """The weight of the set, or the steps of its stage."""
    if config.data.mix is None:
        return 1.0, None
    one, training = config.data.mix[name], config.training
    if one.epochs is None:
        return one.weight, one.steps
    is_packed = training.batching == "packed"
    rows = rows_of(tokenized.kept.lengths_K, max_tokens=row.tokens, is_packed=is_packed)
    return None, records.steps_of(one.epochs, rows=rows, batch_size=training.batch_size)


def data_record(data: DataConfig, rows: TrainingRows) -> records.Data | records.Mixture:
    """What the manifest says of the training data."""
    kept, sha256 = rows.statistics.rows_kept, rows.examples.facts.sha256
    if data.source is not None:
        return records.Data(name=data.name, source=data.source, rows=kept, sha256=sha256)
    sets = {one.name: _set_record(one) for one in rows.sets}
    return records.Mixture(name=data.name, rows=kept, sha256=sha256, sets=sets)


def _set_record(one: TrainingSet) -> records.MixedSet | records.Stage:
    facts, kept = one.examples.facts, one.tokenized.statistics.rows_kept
    if one.steps is not None:
        return records.Stage(source=facts.source, steps=one.steps, rows=kept, sha256=facts.sha256)
    assert one.weight is not None  # a set of a mixture has one of the two
    return records.MixedSet(source=facts.source, weight=one.weight, rows=kept, sha256=facts.sha256)


def renderer_of(config: RunConfig, tokenizer: Tokenizer) -> Renderer:
    """What writes an example as text, as `data.template` says."""
    return Renderer(config.data.template, own=tokenizer.own_chat)
