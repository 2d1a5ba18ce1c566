"""What supervised fine-tuning reports."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tunix_exp.evidence.kinds.kind import Kind
from tunix_exp.objectives.metric import Metric

_TOKENS = "response_tokens"
_UNIT = "nats per response token"

METRICS = (
    Metric("loss", "Loss", _UNIT, "down", "mean"),
    Metric(_TOKENS, "Response tokens", "tokens", "neither", "sum", is_drawn=False),
)


def of_sets(names: Sequence[str]) -> tuple[Metric, ...]:
    """What is reported of each set of a mixture: its loss, its rows, and the tokens that the loss is over."""
    found = []
    for name in names:
        tokens = f"{_TOKENS}/{name}"
        found += [
            Metric(f"loss/{name}", f"Loss: {name}", _UNIT, "down", "mean", counted_by=tokens),
            Metric(f"rows/{name}", f"Rows: {name}", "rows", "neither", "sum", is_drawn=False),
            Metric(tokens, f"Response tokens: {name}", "tokens", "neither", "sum", is_drawn=False),
        ]
    return tuple(found)


KINDS: tuple[Kind, ...] = ()


def contradictions(line: Mapping[str, Any]) -> Iterator[str]:
    """The response tokens are among the tokens."""
    if not 0 <= line[_TOKENS] <= line["tokens"]:
        yield "`response_tokens` and `tokens` do not contain each other"


def contradictions_of_sets(line: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    """Tokens and loss of a mixture are those of its sets."""
    counts = {name: line[f"{_TOKENS}/{name}"] for name in names}
    all_of_them = sum(counts.values())
    if all_of_them != line[_TOKENS]:
        yield f"`{_TOKENS}` is {line[_TOKENS]:,g}, and its sets have {all_of_them:,g}"
        return
    total = sum(line[f"loss/{name}"] * count for name, count in counts.items() if count)
    mean = total / max(all_of_them, 1)
    # The same sums of float32, added up in another order.
    if not math.isclose(mean, line["loss"], rel_tol=1e-4, abs_tol=1e-6):
        yield f"`loss` is {line['loss']:.6g}, and those of its sets come to {mean:.6g}"
