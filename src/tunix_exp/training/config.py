"""The training and optim groups: how long, how much at once, and by which rule."""

import itertools
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from tunix_exp.references import Place
from tunix_exp.schema import (
    MOST_STEPS,
    MOST_TOKENS,
    BatchSize,
    Config,
    Decay,
    Epochs,
    Fraction,
    Scale,
    Small,
    Steps,
    Width,
    shown,
)

_MOST_WIDTHS = 1000  # each is a compilation


def _bucket_widths(value: Any) -> int | tuple[int, ...] | None:
    if value is None:
        return None
    widths = tuple(value) if isinstance(value, list | tuple) else (value,)
    most = MOST_TOKENS if isinstance(value, list | tuple) else _MOST_WIDTHS
    are_counts = all(type(width) is int and 0 < width <= most for width in widths)
    are_few = 0 < len(widths) <= _MOST_WIDTHS
    if are_few and are_counts and all(one < other for one, other in itertools.pairwise(widths)):
        return widths if isinstance(value, list | tuple) else widths[0]
    raise ValueError(
        f"{shown(value)} is neither a number of widths nor a list of ascending ones:"
        f" at most {_MOST_WIDTHS:,} of them, of at most {MOST_TOKENS:,} tokens"
    )


BucketWidths = Annotated[int | tuple[int, ...] | None, BeforeValidator(_bucket_widths)]


class TrainingConfig(Config):
    """The budget, the batch, and what is saved; exactly one of `steps` and `epochs` is set.

    Rows are `padded` to data.max_tokens, or come in `buckets`, batches of a few widths, or hold as many
    examples as go in: `packed`. `bucket_widths` are the widths, or how many there may be.
    """

    steps: Steps | None
    epochs: Epochs | None
    batch_size: BatchSize
    batching: Literal["padded", "buckets", "packed"]
    bucket_widths: BucketWidths
    log_every_steps: Steps
    save_every_steps: Steps | None
    keep_checkpoints: Steps
    resume: Place  # or never, auto
    stop_at_step: Steps | None
    export: Annotated[tuple[Literal["hf", "peft"], ...], Field(strict=False)]
    export_dtype: Literal["float32", "bfloat16", "float16"] | None  # of hf; null: as the run holds them

    @field_validator("export", mode="after")
    @classmethod
    def _each_form_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"{list(value)} names a form twice")
        return value


_Rate = Annotated[float, Field(ge=0, le=1000)]


class _OptimConfig(Config):
    peak_lr: _Rate
    schedule: Literal["constant", "linear", "cosine", "wsd"]
    schedule_per: Literal["run", "stage"]  # what it is gone through in: the run, or each stage of data.mix
    warmup_steps: Annotated[int, Field(ge=0, le=MOST_STEPS)]
    final_lr_ratio: Fraction | None
    wsd_decay_fraction: Fraction | None
    clip_norm: Scale | None
    weight_decay: _Rate
    decay_mask: Literal["matrices", "all"]
    accumulation_steps: BatchSize
    rounding: Literal["nearest", "stochastic"]  # of what is trained, or kept of it, in bfloat16


class AdamWConfig(_OptimConfig):
    """Decoupled weight decay Adam (Loshchilov & Hutter 2019)."""

    name: Literal["adamw"]
    b1: Decay
    b2: Decay
    eps: Small


class AdafactorConfig(_OptimConfig):
    """Factored second moments, no first moment by default (Shazeer & Stern 2018)."""

    name: Literal["adafactor"]
    decay_rate: Decay
    min_dim_size_to_factor: Width
    clipping_threshold: Scale | None
    eps: Small


class LionConfig(_OptimConfig):
    """The sign of an interpolated momentum (Chen et al. 2023)."""

    name: Literal["lion"]
    b1: Decay
    b2: Decay


class SGDConfig(_OptimConfig):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"]
    momentum: Decay
    nesterov: bool


OptimConfig = Annotated[AdamWConfig | AdafactorConfig | LionConfig | SGDConfig, Field(discriminator="name")]
