"""The training and optim groups: how long, how much at once, and by which rule."""

import itertools
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
)

from tunix_exp.schema import Config

Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]


def _bucket_widths(value: Any) -> int | tuple[int, ...] | None:
    if value is None:
        return None
    widths = tuple(value) if isinstance(value, list | tuple) else (value,)
    are_counts = all(type(width) is int and width > 0 for width in widths)
    if widths and are_counts and all(one < other for one, other in itertools.pairwise(widths)):
        return widths if isinstance(value, list | tuple) else widths[0]
    raise ValueError(f"{value!r} is neither a number of widths nor a list of ascending ones")


BucketWidths = Annotated[int | tuple[int, ...] | None, BeforeValidator(_bucket_widths)]


class TrainingConfig(Config):
    """The budget, the batch, and what is saved; exactly one of `steps` and `epochs` is set.

    Rows are `padded` to data.max_tokens, or come in `buckets`, batches of a few widths, or hold as many
    examples as go in: `packed`. `bucket_widths` are the widths, or how many there may be.
    """

    steps: PositiveInt | None
    epochs: PositiveFloat | None
    batch_size: PositiveInt
    batching: Literal["padded", "buckets", "packed"]
    bucket_widths: BucketWidths
    log_every_steps: PositiveInt
    save_every_steps: PositiveInt | None
    keep_checkpoints: PositiveInt
    resume: str
    stop_at_step: PositiveInt | None
    export: Annotated[tuple[Literal["hf", "peft"], ...], Field(strict=False)]
    export_dtype: Literal["float32", "bfloat16", "float16"] | None  # of hf; null: as the run holds them

    @field_validator("export", mode="after")
    @classmethod
    def _each_form_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"{list(value)} names a form twice")
        return value


class _OptimConfig(Config):
    peak_lr: NonNegativeFloat
    schedule: Literal["constant", "linear", "cosine", "wsd"]
    warmup_steps: NonNegativeInt
    final_lr_ratio: Fraction | None
    wsd_decay_fraction: Fraction | None
    clip_norm: PositiveFloat | None
    weight_decay: NonNegativeFloat
    decay_mask: Literal["matrices", "all"]
    accumulation_steps: PositiveInt
    rounding: Literal["nearest", "stochastic"]  # of what is trained, or kept of it, in bfloat16


class AdamWConfig(_OptimConfig):
    """Decoupled weight decay Adam (Loshchilov & Hutter 2019)."""

    name: Literal["adamw"]
    b1: Decay
    b2: Decay
    eps: PositiveFloat


class AdafactorConfig(_OptimConfig):
    """Factored second moments, no first moment by default (Shazeer & Stern 2018)."""

    name: Literal["adafactor"]
    decay_rate: Decay
    min_dim_size_to_factor: PositiveInt
    clipping_threshold: PositiveFloat | None
    eps: PositiveFloat


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
