"""Training rows and held-out items, from sources of their own or from one."""

from collections.abc import Mapping

from tunix_exp.data.config import DataConfig
from tunix_exp.data.sources import ExampleSet, read_items, read_sets
from tunix_exp.data.split import split
from tunix_exp.evaluation.config import EvalConfig, ItemsEvalConfig


def read_rows(data: DataConfig, asked: EvalConfig) -> dict[str, ExampleSet]:
    """The rows to train on by their sets: without those that `eval.share` holds out, which a set has beside
    it.
    """
    sets = read_sets(data)
    if not isinstance(asked, ItemsEvalConfig) or asked.share is None:
        return sets
    return {name: split(rows, asked.share, asked.max_items) for name, rows in sets.items()}


def read_held_out(
    data: DataConfig, asked: ItemsEvalConfig, sets: Mapping[str, ExampleSet] | None = None
) -> ExampleSet:
    """The held-out items, of a source of their own or of the training set's, which `sets` spares reading."""
    if asked.share is None:
        return read_items(asked.source, asked.format, asked.fields, asked.max_items)
    (rows,) = (read_rows(data, asked) if sets is None else sets).values()  # the config sees to it
    assert rows.held_out is not None  # there is a share
    return rows.held_out
