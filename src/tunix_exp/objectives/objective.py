"""The seam between training and what is learnt.

Training knows steps, optimizers, checkpoints and meters. An objective, a value of the records below, says
what a batch is, what its loss is, what it reports, and what it needs. The parts that are compiled stand in
`Loss` and are hashable: equal losses share one program. Numbers that a sweep changes are `scalars`, inputs of
the program.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax
from flax import nnx
from jaxtyping import Array, Float, Int

from tunix_exp.data.batches import Batching, BatchStatistics
from tunix_exp.data.sources import ExampleSet
from tunix_exp.data.tokenize import Tokenized
from tunix_exp.data.tokenizer import Tokenizer
from tunix_exp.evidence.kinds.kind import Kind
from tunix_exp.models import lora
from tunix_exp.models.architecture import LanguageModel
from tunix_exp.objectives import registry
from tunix_exp.objectives.metric import Metric

Batch = Any
"""A pytree of arrays whose first axis is the examples: slices and devices split it there."""

Tree = Any
"""A tree of arrays."""

Scalars = dict[str, jax.Array]

Lines = Mapping[str, Sequence[Mapping[str, Any]]]
"""What an objective leaves as evidence: lines by the file of the run directory."""


class Held(NamedTuple):
    """What a step reads and never changes: parameters beside an adapter, and those of the reference."""

    frozen: tuple[Tree, ...] = ()
    reference: tuple[Tree, ...] = ()


class Policy(NamedTuple):
    """The model that is trained, as a graph and its parameters (or their shapes)."""

    graphdef: nnx.GraphDef[Any]
    params: Tree
    held: Held

    def model(self) -> LanguageModel:
        """The model with the parameters as they stand."""
        return nnx.merge(self.graphdef, self.params, *self.held.frozen)

    def reference(self) -> LanguageModel:
        """The model before training: without its adapter, or else with the parameters that were kept.

        Its parameters are no function of the policy's.
        """
        if self.held.frozen:
            return lora.without_adapters(self.model())
        return nnx.merge(self.graphdef, *self.held.reference)


class Models(NamedTuple):
    """What a loss is computed with; the reference is there where `Loss.has_reference`."""

    policy: LanguageModel
    reference: LanguageModel | None


class Summed(NamedTuple):
    """What a slice of a batch comes to.

    `loss` is the slice's part of the whole batch's loss. `parts` are its parts of the metrics by name: of a
    `mean` the sum and its weight, of any other the figure.
    """

    loss: Float[Array, ""]
    parts: Mapping[str, Any]


@dataclass(frozen=True)
class Loss:
    """What is compiled into a step.

    `weigh` counts what the loss of a whole batch is divided by, by name: `response_tokens`, `pairs`. Of every
    slice of the batch `summed` is given one over each of these counts, so that every split of one batch gives
    the same update; the counts are metrics too. `real_tokens` are those that are no padding.
    """

    weigh: Callable[[Batch], dict[str, Int[Array, ""]]]
    summed: Callable[[Models, Batch, Scalars, Scalars], Summed]  # models, slice, scales, objective's scalars
    real_tokens: Callable[[Batch], Int[Array, ""]]
    metrics: tuple[Metric, ...]
    rows: int = 1  # of the model, for each example of the batch
    has_reference: bool = False


class Source(Protocol):
    """Batches by number, each a pure function of the seed and its number, without end."""

    @property
    def steps_per_epoch(self) -> float:
        """How many batches hold every example once."""
        ...

    def arrays(self, number: int) -> Batch:
        """The batch on the host."""
        ...

    def names(self, number: int) -> tuple[str, ...]:
        """The ids of its examples."""
        ...

    def widths(self, count: int) -> tuple[int, ...]:
        """The widths, ascending, that the first `count` batches may have."""
        ...

    def statistics(self) -> BatchStatistics:
        """How one epoch goes into batches."""
        ...

    def text(self, number: int) -> str:
        """What each row of the batch holds, for a reader."""
        ...

    def lines(self) -> Lines:
        """What was made of the examples, as evidence, before the first batch."""
        ...


class TrainingSet(NamedTuple):
    """A set of examples, as read and as tokens, with its weight or its steps; a lone one has no name."""

    name: str
    weight: float | None
    steps: int | None
    examples: ExampleSet
    tokenized: Tokenized


class Material(NamedTuple):
    """What batches are made of: a set of examples, or those of a mixture, and the sizes of the config."""

    sets: Sequence[TrainingSet]
    tokenizer: Tokenizer
    seed: int
    batch_size: int
    max_tokens: int
    batching: Batching
    bucket_widths: int | tuple[int, ...] | None


class Collected(NamedTuple):
    """What was made of a batch before it is learnt from.

    `lines` are kept as evidence, by file, before the first update; `state` is the objective's next.
    """

    batch: Batch
    state: Tree
    metrics: Mapping[str, float]
    lines: Lines


Programs = Mapping[int, Mapping[str, Any]]
"""An objective's own compiled programs, by the width of a source's batch and by name."""


def _no_state(seed: int) -> Tree:
    del seed
    return ()


def _nothing_held(rows: int, tokens: int) -> int:
    del rows, tokens
    return 0


@dataclass(frozen=True)
class Objective:
    """All that training, the plan and the evidence ask of an objective.

    `shapes(examples, width)` is the batch that is learnt from as ShapeDtypeStructs, of which `extent` says
    how many rows and how many tokens a row the model sees. Without `collect` a source's batch is learnt from
    as it is. With it, host code that may call `programs` makes the batch, each time before `updates` are
    taken on it. What is drawn by chance is drawn from the objective's own state, which `init(seed)` begins
    and a checkpoint holds.
    """

    name: str
    loss: Loss
    source: Callable[[Material], Source]
    shapes: Callable[[int, int], Batch]
    extent: Callable[[Batch], tuple[int, int]]
    scalars: Mapping[str, float] = field(default_factory=dict)
    init: Callable[[int], Tree] = _no_state
    collect: Callable[[Policy, Batch, Tree, Programs], Collected] | None = None
    updates: int = 1
    programs: Callable[[Policy, int, int], Mapping[str, Any]] | None = None  # of shapes, examples, width
    forward_passes: float = 0.0  # over the rows of a batch, beside those of policy and reference in the loss
    held_bytes: Callable[[int, int], int] = _nothing_held  # on a device, beside the step, by rows and tokens

    def kind(self, file: str) -> Kind:
        """The kind of evidence that the file is of, one of the objective's own."""
        kinds = {kind.path: kind for kind in registry.kinds(self.name)}
        if file not in kinds:
            raise KeyError(f"the objective {self.name} gives lines of {file}, which KINDS does not describe")
        return kinds[file]

    def kept(self, params: Tree, frozen: tuple[Tree, ...]) -> tuple[Tree, ...]:
        """The parameters of the reference, where the loss has one and no adapter can be left out for it."""
        return (params,) if self.loss.has_reference and not frozen else ()
