"""The training and optim groups: how long, how much at once, and by which rule."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from tunix_exp.schema import Config

Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class TrainingConfig(Config):
    """The budget, the batch, and what is saved; exactly one of `steps` and `epochs` is set."""

    steps: PositiveInt | None
    epochs: PositiveFloat | None
    batch_size: PositiveInt
    log_every_steps: PositiveInt
    save_every_steps: PositiveInt | None
    keep_checkpoints: PositiveInt
    resume: str
    stop_at_step: PositiveInt | None


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
