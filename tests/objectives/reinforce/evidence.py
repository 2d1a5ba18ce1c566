"""What is reported of rewarded answers."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tunix_exp.evidence.kinds.kind import Kind, when_trained
from tunix_exp.objectives.metric import Metric

METRICS = (
    Metric("loss", "Loss", "per answer", "down", "mean"),
    Metric("answers", "Answers", "answers", "neither", "sum"),
    Metric("reward", "Reward", "", "up", "mean"),
    Metric("log_ratio", "Distance to the reference", "nats", "neither", "mean"),
    Metric("largest_ratio", "Largest probability ratio", "", "neither", "max"),
)


class Rollout(BaseModel):
    """A sampled token and its reward; `step` is the first update on it."""

    model_config = ConfigDict(strict=True, extra="forbid")
    step: Annotated[int, Field(ge=1)]
    token: Annotated[int, Field(ge=0)]
    reward: float


KINDS = (
    Kind(
        path="rollouts.jsonl",
        name="rollouts",
        holds="every answer that the model was rewarded for",
        when=when_trained,
        schema=Rollout,
        is_appended=True,
    ),
)


def contradictions(line: Mapping[str, Any]) -> Iterator[str]:
    """A reward is between 0 and 1."""
    if not 0 <= line["reward"] <= 1:
        yield f"`reward` is {line['reward']}"
