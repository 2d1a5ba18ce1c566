"""`sweep`: what a sweep's jobs are compared by. It decides nothing of a run, and is no part of its config."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from tunix_exp.errors import UserError, did_you_mean, nearest
from tunix_exp.schema import Config, shown

Goal = Literal["maximize", "minimize"]
MetricName = Literal["primary_score", "verdict_accuracy", "heldout_loss_nats", "training_loss"]


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


def sweep_config(plain: Mapping[str, Any]) -> SweepConfig:
    """The typed section, or one `UserError` that lists every fault with its key."""
    try:
        return SweepConfig.model_validate(dict(plain))
    except ValidationError as error:
        faults = [
            _explained(str(one["loc"][0]), one["type"], one["msg"], one["input"]) for one in error.errors()
        ]
    raise UserError(
        "\n".join(faults),
        where="sweep",
        remedy=f"sweep.metric is one of {', '.join(METRICS)}; sweep.goal is maximize, minimize, or null (the"
        " metric's own)",
    )


def _explained(key: str, kind: str, says: str, value: object) -> str:
    if kind == "extra_forbidden":
        near = nearest(key, SweepConfig.model_fields)
        return f"`sweep.{key}` is not a key{did_you_mean(near and f'sweep.{near}')}"
    if kind == "missing":
        return f"`sweep.{key}` is missing"
    return f"`sweep.{key}` = {shown(value)}: {says[0].lower()}{says[1:]}"
