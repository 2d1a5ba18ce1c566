"""`sweep` and `hydra.sweeper`: what a sweep's jobs are compared by, and how many there are.

Neither decides anything of a run, nor is part of its config.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import Field, ValidationError

from tunix_exp.errors import UserError, did_you_mean, nearest
from tunix_exp.schema import Config, Seed, shown

Goal = Literal["maximize", "minimize"]
MetricName = Literal["primary_score", "verdict_accuracy", "heldout_loss_nats", "training_loss"]

MOST_JOBS = 10**6
Count = Annotated[int, Field(ge=1, le=MOST_JOBS)]


class Metric(NamedTuple):
    """What runs can be compared by: its name for readers, which way is better, and whether it is the share of
    items that are right.
    """

    title: str
    goal: Goal
    is_share: bool = False


METRICS: dict[MetricName, Metric] = {
    "primary_score": Metric("primary score", "maximize", is_share=True),
    "verdict_accuracy": Metric("right verdicts on shown traces", "maximize", is_share=True),
    "heldout_loss_nats": Metric("held-out loss, nats per response token", "minimize"),
    "training_loss": Metric("training loss of the last step", "minimize"),
}


class SweepConfig(Config):
    """`metric` is what the best job has the best of; `goal` says which way, null the metric's own."""

    metric: MetricName
    goal: Goal | None

    @property
    def direction(self) -> Goal:
        """Which way is better."""
        return METRICS[self.metric].goal if self.goal is None else self.goal


class GridConfig(Config):
    """How many jobs a launcher is handed at once, null its own number; whether a sweep is gone on with."""

    max_batch_size: Count | None
    resume: bool


class StudyConfig(GridConfig):
    """How many jobs there are in all, how many of them are drawn at random, and the seed of the choices."""

    n_trials: Count
    n_startup_trials: Annotated[int, Field(ge=0, le=MOST_JOBS)]
    seed: Seed


_Section = TypeVar("_Section", bound=Config)


def sweep_config(plain: Mapping[str, Any]) -> SweepConfig:
    """The typed section, or one `UserError` that lists every fault with its key."""
    remedy = f"sweep.metric is one of {', '.join(METRICS)}; sweep.goal is maximize, minimize, or null (the"
    return _typed(SweepConfig, plain, where="sweep", remedy=f"{remedy} metric's own)")


def sweeper_config(kind: type[_Section], plain: Mapping[str, Any]) -> _Section:
    """The same of a sweeper's own settings."""
    return _typed(kind, plain, where="hydra.sweeper", remedy="`--cfg hydra` shows every key with its value")


def _typed(kind: type[_Section], plain: Mapping[str, Any], *, where: str, remedy: str) -> _Section:
    try:
        return kind.model_validate(dict(plain))
    except ValidationError as error:
        faults = [_explained(kind, where, one) for one in error.errors()]
    raise UserError("\n".join(faults), where=where, remedy=remedy)


def _explained(kind: type[Config], section: str, fault: Any) -> str:
    key, says = str(fault["loc"][0]), fault["msg"]
    if fault["type"] == "extra_forbidden":
        near = nearest(key, kind.model_fields)
        return f"`{section}.{key}` is not a key{did_you_mean(near and f'{section}.{near}')}"
    if fault["type"] == "missing":
        return f"`{section}.{key}` is missing"
    return f"`{section}.{key}` = {shown(fault['input'])}: {says[0].lower()}{says[1:]}"
