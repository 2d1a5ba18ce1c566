"""The eval group: the held-out items and how base and trained model answer them."""

import importlib.util
from typing import Annotated, Literal

from pydantic import Field, field_validator

from tunix_exp.data.config import FieldsConfig, ItemFormat
from tunix_exp.errors import UserError
from tunix_exp.references import ItemsReferenceText, Place
from tunix_exp.schema import BatchSize, Config, Name, Rows, Seed, Steps, Tokens, Written

# A thousandth of a percentile is far below what a sample of items can tell apart.
Resamples = Annotated[int, Field(ge=1000, le=1_000_000)]


class ItemsEvalConfig(Config):
    """Greedy answers to held-out items, extracted and scored.

    An answer ends before the first text of `stop`; where that is null, before what begins a next example.
    Where `source` is `data`, the items are the `share` of the training rows that is held out.
    """

    kind: Literal["items"]
    name: Name
    source: ItemsReferenceText
    share: Annotated[float, Field(gt=0, lt=1)] | None
    format: ItemFormat
    fields: FieldsConfig
    max_items: Rows | None
    batch_size: BatchSize
    stop: Annotated[tuple[Annotated[Written, Field(min_length=1)], ...], Field(strict=False)] | None
    max_new_tokens: Tokens
    heldout_every_steps: Steps | None
    resamples: Resamples
    baseline: Place | None
    baseline_tolerance_points: Annotated[float, Field(ge=0, le=100)] | None


class HarnessEvalConfig(Config):
    """Tasks of EleutherAI's lm-evaluation-harness, scored by the harness.

    `include_path` is a folder of task files of one's own. `max_new_tokens` caps what the tasks allow.
    """

    kind: Literal["harness"]
    name: Name
    tasks: Annotated[tuple[Name, ...], Field(strict=False, min_length=1, max_length=1000)]
    include_path: Place | None
    num_fewshot: Annotated[int, Field(ge=0, le=1000)] | None
    fewshot_seed: Seed
    apply_chat_template: bool
    fewshot_as_multiturn: bool
    max_items: Rows | None
    batch_size: BatchSize
    max_new_tokens: Tokens | None
    resamples: Resamples

    @field_validator("tasks", mode="after")
    @classmethod
    def _are_distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in value if value.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is named twice")
        return value


class NoEvalConfig(Config):
    """No evaluation: the run trains and shows losses only."""

    kind: Literal["none"]
    name: Literal["none"]


EvalConfig = Annotated[ItemsEvalConfig | HarnessEvalConfig | NoEvalConfig, Field(discriminator="kind")]


def refuse_lacking(config: EvalConfig) -> None:
    """Nothing, or a `UserError` where the evaluation needs a package that is not installed."""
    if isinstance(config, HarnessEvalConfig) and importlib.util.find_spec("lm_eval") is None:
        raise UserError(
            "the lm-evaluation-harness is not installed",
            where="eval=harness",
            remedy="install it with `uv sync --extra harness`; it brings no PyTorch",
        )
