"""Training rows and held-out items, from sources of their own or from one."""

from tunix_exp.data.config import DataConfig
from tunix_exp.data.sources import ExampleSet, read, read_items
from tunix_exp.data.split import split
from tunix_exp.evaluation.config import EvalConfig, ItemsEvalConfig


def read_rows(data: DataConfig, asked: EvalConfig) -> ExampleSet:
    """The rows to train on: without those that `eval.share` holds out, which they have beside them."""
    rows = read(data)
    if not isinstance(asked, ItemsEvalConfig) or asked.share is None:
        return rows
    return split(rows, asked.share, asked.max_items)


def read_held_out(data: DataConfig, asked: ItemsEvalConfig, rows: ExampleSet | None = None) -> ExampleSet:
    """The held-out items, of a source of their own or of the training set's, which `rows` spares reading."""
    if asked.share is None:
        return read_items(asked.source, asked.format, asked.fields, asked.max_items)
    held_out = (read_rows(data, asked) if rows is None else rows).held_out
    assert held_out is not None  # there is a share
    return held_out
