"""What supervised fine-tuning reports."""

from collections.abc import Iterator, Mapping
from typing import Any

from tunix_exp.evidence.kinds.kind import Kind
from tunix_exp.objectives.metric import Metric

METRICS = (
    Metric("loss", "Loss", "nats per response token", "down", "mean"),
    Metric("response_tokens", "Response tokens", "tokens", "neither", "sum", is_drawn=False),
)

KINDS: tuple[Kind, ...] = ()


def contradictions(line: Mapping[str, Any]) -> Iterator[str]:
    """The response tokens are among the tokens."""
    if not 0 <= line["response_tokens"] <= line["tokens"]:
        yield "`response_tokens` and `tokens` do not contain each other"
