"""The eval group: the held-out items and how base and trained model answer them."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from tunix_exp.data.config import FieldsConfig
from tunix_exp.schema import Config


class ItemsEvalConfig(Config):
    """Greedy answers to held-out items, extracted and scored."""

    kind: Literal["items"]
    name: str
    source: str
    fields: FieldsConfig
    max_items: PositiveInt | None
    batch_size: PositiveInt
    max_new_tokens: PositiveInt
    heldout_every_steps: PositiveInt | None
    resamples: Annotated[int, Field(ge=1000)]
    baseline: str | None
    baseline_tolerance_points: NonNegativeFloat | None
    extractor: Literal["v1"]
    num_beams: Literal[1]
    do_sample: Literal[False]


class NoEvalConfig(Config):
    """No evaluation: the run trains and shows losses only."""

    kind: Literal["none"]
    name: Literal["none"]


EvalConfig = Annotated[ItemsEvalConfig | NoEvalConfig, Field(discriminator="kind")]
