"""Batches on their way to the steps: fetched ahead, or made of what the model does."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax

from tunix_exp.models.hosts import put
from tunix_exp.objectives.objective import Batch, Lines, Objective, Policy, Programs, Source, Tree
from tunix_exp.training.folding import check_described, present
from tunix_exp.training.step import TrainState

Keep = Callable[[int, Lines], None]


class Fed(NamedTuple):
    """A batch on the device; `extent` is its rows and the tokens of one, `metrics` come from its making."""

    arrays: Batch
    extent: tuple[int, int]
    metrics: Mapping[str, float]


class Feed:
    """The batches of one training, each for as many updates as the objective takes on it.

    `place` puts a batch on the device. Of an objective that collects: `policy` is the model with the
    parameters that it is given, and `keep` writes down, before the first update, what was made for the step.
    """

    def __init__(
        self,
        objective: Objective,
        source: Source,
        *,
        place: Callable[[Batch], Batch],
        policy: Callable[[Tree], Policy],
        programs: Programs,
        keep: Keep,
    ) -> None:
        """Nothing is fetched yet."""
        self._objective, self._source = objective, source
        self._place, self._policy, self._programs, self._keep = place, policy, programs, keep
        self._fetched: Fed | None = None
        self._taken: Fed | None = None

    def is_due(self, done: int) -> bool:
        """Whether no update on a batch is left after `done` of all."""
        return done % self._objective.updates == 0

    def fetch(self, step: int) -> None:
        """The batch of `step` is on its way; one that the model has a part in waits for the model."""
        if self._objective.collect is None:
            self._fetched = self._placed(self._source.arrays(self._number(step)), {})

    def take(self, state: TrainState, step: int, *, settle: Callable[[], None]) -> tuple[TrainState, Fed]:
        """The state, and the batch of `step`: the one at hand, or a new one where its updates are done.

        The state has changed where the model had a part in the new one; `settle` is called before that.
        """
        if self.is_due(step):
            state = self._made(state, step, settle) if self._objective.collect else state
            if self._fetched is None:
                self.fetch(step)
            self._taken, self._fetched = self._fetched, None
        assert self._taken is not None  # training goes on between two batches
        return state, self._taken

    def _made(self, state: TrainState, step: int, settle: Callable[[], None]) -> TrainState:
        assert self._objective.collect is not None
        settle()
        prompts = self._source.arrays(self._number(step))
        made = self._objective.collect(self._policy(state.params), prompts, state.own, self._programs)
        check_described(made.metrics, self._objective.loss.metrics, of="collect")
        self._keep(step, made.lines)
        own = jax.tree.map(lambda new, old: put(new, old.sharding), made.state, state.own)
        self._fetched = self._placed(made.batch, made.metrics)
        return state._replace(own=own)

    def present(self, figures: Mapping[str, float]) -> dict[str, float]:
        """The objective's figures of a batch, without those that it has nothing of."""
        return present(figures, self._objective.loss.metrics)

    def names(self, step: int) -> tuple[str, ...]:
        """The ids of the examples of that step's batch."""
        return self._source.names(self._number(step))

    def _number(self, step: int) -> int:
        return step // self._objective.updates

    def _placed(self, batch: Batch, metrics: Mapping[str, float]) -> Fed:
        return Fed(self._place(batch), self._objective.extent(batch), metrics)
