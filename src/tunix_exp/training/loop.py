"""The training loop: a batch, a step, the previous step's figures, and what falls due."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax

from tunix_exp.errors import Interrupted, UserError
from tunix_exp.evidence.metrics import is_logged
from tunix_exp.training.checkpoint import Checkpoints
from tunix_exp.training.optim import Scalars
from tunix_exp.training.step import BatchArrays, Metrics, Step, TrainState


class NonFinite(UserError):
    """The loss or the gradient is no number any more."""


class Row(NamedTuple):
    """One line of metrics.jsonl; step counts finished updates, loss is nats per response token.

    `tokens` are the batch's real ones, `padded_tokens` all of its places.
    """

    step: int
    loss: float
    lr: float
    grad_norm: float
    tokens: int
    padded_tokens: int
    response_tokens: int
    tokens_per_s: float
    time_s: float


class Source(Protocol):
    """Batches by step; `names` says which examples a batch holds."""

    def arrays(self, step: int) -> BatchArrays:
        """The batch of `step`, ready for the device."""
        ...

    def names(self, step: int) -> tuple[str, ...]:
        """The ids of its examples."""
        ...


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
    source: Source,
    scalars: Scalars,
    *,
    place: Callable[[BatchArrays], BatchArrays],
    schedule: Schedule,
    checkpoints: Checkpoints,
    on_row: Callable[[Row], None],
    on_step: Callable[[Row], None],
    heldout: Callable[[TrainState, int], None],
) -> TrainState:
    """The state after `schedule.last_step` updates.

    While a step runs, `place` puts the next batch on the device, and the figures of the step before are
    settled. A step takes nothing from the host unasked: what is not on the device is an error.
    """
    first = int(state.step)
    batch = place(source.arrays(first))
    settle = _Settler(source, schedule, on_row=on_row, on_step=on_step)
    with _stop_requests() as stop:
        for step in range(first, schedule.last_step):
            done = step + 1
            with jax.transfer_guard("disallow"):
                state, metrics = step_fn(state, batch, scalars)
            places = batch.tokens_BT.size
            if done < schedule.last_step:
                batch = place(source.arrays(done))
            settle(step, metrics, places)
            stopping = stop() or done == schedule.stop_at
            if stopping or _due(done, schedule.save_every, schedule.last_step):
                with settle.away():
                    checkpoints.save(state, step=done)
            if stopping:
                checkpoints.wait()
                raise Interrupted(
                    f"stopped after step {done} of {schedule.last_step}; its checkpoint is saved"
                )
            if schedule.heldout_every and done % schedule.heldout_every == 0:
                with settle.away():
                    heldout(state, done)
    settle.now()
    checkpoints.wait()
    return state


class _Settler:
    """Holds one step's figures back until the next step is under way, then checks and hands them on."""

    def __init__(
        self,
        source: Source,
        schedule: Schedule,
        *,
        on_row: Callable[[Row], None],
        on_step: Callable[[Row], None],
    ) -> None:
        self._source, self._schedule, self._on_row, self._on_step = source, schedule, on_row, on_step
        self._held: tuple[int, Metrics, int] | None = None
        self._start = self._since = time.perf_counter()
        self._tokens = 0

    def __call__(self, step: int, metrics: Metrics, places: int) -> None:
        self.now()
        self._held = (step, metrics, places)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nothing is held back any more, and the seconds spent inside are not training's."""
        self.now()
        left = time.perf_counter()
        yield
        self._since += time.perf_counter() - left

    def now(self) -> None:
        """Nothing is held back any more; raises `NonFinite` naming step and examples."""
        if self._held is None:
            return
        (step, metrics, places), self._held = self._held, None
        values = jax.device_get(metrics)
        done, loss, norm = step + 1, float(values.loss), float(values.grad_norm)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise NonFinite(
                f"loss {loss}, gradient norm {norm} at step {done}",
                where=f"the batch of step {done}: {', '.join(self._source.names(step)[:8])} …",
                remedy="lower optim.peak_lr, lengthen optim.warmup_steps, or look at these examples",
            )
        now = time.perf_counter()
        self._tokens += int(values.tokens)
        row = Row(
            step=done,
            loss=loss,
            lr=float(values.lr),
            grad_norm=norm,
            tokens=int(values.tokens),
            padded_tokens=places,
            response_tokens=int(values.response_tokens),
            tokens_per_s=self._tokens / max(now - self._since, 1e-9),
            time_s=now - self._start,
        )
        self._on_step(row)
        if is_logged(done, last=self._schedule.last_step, every=self._schedule.log_every):
            self._on_row(row)
            self._since, self._tokens = now, 0


def _due(done: int, every: int | None, last: int) -> bool:
    return done == last or (every is not None and done % every == 0)


@contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a request to stop after the step; the second one interrupts."""
    asked = False

    def ask(signum: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    try:
        old = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # only the main thread may set handlers; elsewhere the default ones stay
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
