"""What unlikelihood reports, and the examples that it avoids."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tunix_exp.evidence.kinds.kind import Compared, Disagreement, Due, Facts, Kind
from tunix_exp.evidence.opened import OpenedRun
from tunix_exp.objectives.metric import Metric

METRICS = (
    Metric("loss", "Loss", "nats per token", "down", "mean"),
    Metric("response_tokens", "Learnt tokens", "tokens", "neither", "sum"),
    Metric("avoided_tokens", "Avoided tokens", "tokens", "neither", "sum"),
    Metric("avoided_probability", "Probability of avoided tokens", "", "down", "mean"),
    Metric("unlikelihood_weight", "Weight of the unlikelihood", "", "neither", "last"),
)


class Avoided(BaseModel):
    """An example that is avoided, and how many tokens its response has."""

    model_config = ConfigDict(strict=True, extra="forbid")
    id: str
    tokens: Annotated[int, Field(ge=1)]


def _when(facts: Facts) -> Due:
    return "must" if facts.computes else "may"


def _among_the_rows(run: OpenedRun) -> Iterator[Disagreement]:
    """Not more examples are avoided than there are."""
    data, avoided = run.manifest.data, run.rows(AVOIDED)
    if data is not None and len(avoided) > data.rows:
        yield Disagreement(AVOIDED.path, f"avoids {len(avoided)} examples of {data.rows}")


AVOIDED = Kind(
    path="avoided.jsonl",
    name="avoided examples",
    holds="the examples whose responses the model is to avoid",
    when=_when,
    schema=Avoided,
    integrity=(_among_the_rows,),
    compared=(Compared("id"),),
)
KINDS = (AVOIDED,)


def contradictions(line: Mapping[str, Any]) -> Iterator[str]:
    """A probability is between 0 and 1, and marked tokens are tokens."""
    if not 0 <= line["avoided_probability"] <= 1:
        yield f"`avoided_probability` is {line['avoided_probability']}"
    if line["response_tokens"] + line["avoided_tokens"] > line["tokens"]:
        yield "more tokens are learnt and avoided than there are"
