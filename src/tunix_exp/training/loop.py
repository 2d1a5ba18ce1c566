"""The training loop: a batch, a step, the previous step's figures, and what falls due."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import jax

from tunix_exp import interruption
from tunix_exp.device import hosts
from tunix_exp.device.check import peak_memory
from tunix_exp.errors import Interrupted, NonFinite
from tunix_exp.evidence.kinds.steps import is_logged
from tunix_exp.training.checkpoint import Checkpoints
from tunix_exp.training.feed import Fed, Feed
from tunix_exp.training.meter import Meter
from tunix_exp.training.optim import Scalars
from tunix_exp.training.step import Metrics, Step, TrainState


@dataclass(frozen=True)
class Row:
    """One line of metrics.jsonl; `step` counts finished updates.

    `tokens` are the batch's real ones, `padded_tokens` all of its places; `own` are the objective's metrics,
    `figures` the meter's, and the most memory held so far.
    """

    step: int
    loss: float
    lr: float
    grad_norm: float
    tokens: int
    padded_tokens: int
    own: Mapping[str, float]
    figures: Mapping[str, float]

    def line(self) -> dict[str, float]:
        """All of it by name."""
        line = {key: getattr(self, key) for key in ("step", "loss", "lr", "grad_norm")}
        return line | {"tokens": self.tokens, "padded_tokens": self.padded_tokens, **self.own, **self.figures}


@dataclass(frozen=True)
class Schedule:
    """When things fall due, in finished steps; `None` is never. The last step is always logged and saved."""

    last_step: int
    log_every: int
    save_every: int | None
    heldout_every: int | None
    stop_at: int | None


def train(
    state: TrainState,
    step_fn: Step,
    feed: Feed,
    scalars: Scalars,
    *,
    meter: Meter,
    schedule: Schedule,
    checkpoints: Checkpoints,
    on_row: Callable[[Row], None],
    on_step: Callable[[Row], None],
    heldout: Callable[[TrainState, int], None],
) -> TrainState:
    """The state after `schedule.last_step` updates.

    A state that has them all already is saved, so that the run has a checkpoint of its own. A held-out loss
    that falls due where the state stands is computed first: whoever left it there may not have come to it.
    While a step runs, the next batch is put on the device, and the figures of the step before are settled. A
    step takes nothing from the host unasked: what is not on the device is an error. A checkpoint falls
    between batches, never between two updates on one.
    """
    first = int(state.step)
    settle = _Settler(feed, meter, schedule, first=first, on_row=on_row, on_step=on_step)
    if first and _due(first, schedule.heldout_every):
        with settle.away():
            heldout(state, first)
    if first == schedule.last_step:
        checkpoints.save(state, step=first)
        checkpoints.wait()
        return state
    with interruption.deferred() as stop:
        for step in range(first, schedule.last_step):
            done = step + 1
            state, batch = feed.take(state, step, settle=settle.now)
            with jax.transfer_guard("disallow"):
                state, metrics = step_fn(state, batch.arrays, scalars)
            is_between = feed.is_due(done)
            if is_between and done < schedule.last_step:
                feed.fetch(done)
            settle(step, metrics, batch)
            stopping = done == schedule.stop_at or (is_between and hosts.stops(stop(), done))
            if stopping or done == schedule.last_step or _due(done, schedule.save_every):
                assert is_between  # the config's steps are multiples of the objective's updates
                with settle.away():
                    checkpoints.save(state, step=done)
            if stopping:
                checkpoints.wait()
                raise Interrupted(
                    f"stopped after step {done} of {schedule.last_step}; its checkpoint is saved"
                )
            if _due(done, schedule.heldout_every):
                with settle.away():
                    heldout(state, done)
    settle.now()
    checkpoints.wait()
    return state


class _Settler:
    """Holds one step's figures back until the next step is under way, then checks and hands them on."""

    def __init__(
        self,
        feed: Feed,
        meter: Meter,
        schedule: Schedule,
        *,
        first: int,
        on_row: Callable[[Row], None],
        on_step: Callable[[Row], None],
    ) -> None:
        self._first = first
        self._feed, self._meter, self._schedule = feed, meter, schedule
        self._on_row, self._on_step = on_row, on_step
        self._held: tuple[int, Metrics, Fed] | None = None

    def __call__(self, step: int, metrics: Metrics, batch: Fed) -> None:
        self.now()
        self._held = (step, metrics, batch)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nothing is held back any more, and the seconds spent inside are not training's."""
        self.now()
        with self._meter.away():
            yield

    def now(self) -> None:
        """Nothing is held back any more; raises `NonFinite` naming step and examples."""
        if self._held is None:
            return
        (step, metrics, batch), self._held = self._held, None
        values = jax.device_get(metrics)
        done, loss, norm = step + 1, float(values.loss), float(values.grad_norm)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise NonFinite(
                f"loss {loss}, gradient norm {norm} at step {done}",
                where=f"the batch of step {done}: {', '.join(self._feed.names(step)[:8])} …",
                remedy="no update came before it: look at model.weights and at these examples, or try"
                " device.compute_dtype=float32"
                if step == self._first
                else "lower optim.peak_lr, lengthen optim.warmup_steps, or look at these examples",
            )
        self._meter.count(tokens=int(values.tokens), shape=batch.extent)
        held_by, peak_bytes = peak_memory()
        row = Row(
            step=done,
            loss=loss,
            lr=float(values.lr),
            grad_norm=norm,
            tokens=int(values.tokens),
            padded_tokens=math.prod(batch.extent),
            own=self._feed.present({name: value.item() for name, value in values.own.items()})
            | dict(batch.metrics),
            figures=self._meter.figures() | {f"{held_by}_peak_bytes": peak_bytes},
        )
        self._on_step(row)
        if is_logged(done, last=self._schedule.last_step, every=self._schedule.log_every):
            self._on_row(row)
            self._meter.mark()


def _due(done: int, every: int | None) -> bool:
    return every is not None and done % every == 0
