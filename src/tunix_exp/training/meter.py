"""What training gets done a second: steps, tokens, operations, and how much of the device that is.

Evaluation and checkpoints are not training: their seconds are left out.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from tunix_exp.evidence.kinds.rates import SLOWEST, UNSEEN, pace, rate


class Meter:
    """Counters of one training, and what they come to since they were last marked.

    `flops_of_width` are the operations that the model asks of one device for a batch of that width,
    `peak_flops` the most that a device can do a second, where that is known.
    """

    def __init__(
        self,
        flops_of_width: Mapping[int, float],
        peak_flops: float | None,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Time runs from now."""
        self._flops_of_width, self._peak_flops, self._clock = flops_of_width, peak_flops, clock
        self._start = clock()
        self._away_s = 0.0
        self._counted = dict(UNSEEN) | {"flops": 0.0}
        self._marked = self._first = dict(self._counted)
        self._slowest_s = -math.inf

    @contextmanager
    def away(self) -> Iterator[None]:
        """The seconds spent inside are not training's."""
        left = self._clock()
        yield
        self._away_s += self._clock() - left

    def count(self, *, tokens: int, shape: tuple[int, int]) -> None:
        """One more step, on a batch of `shape` with so many real `tokens`, has just ended.

        Of its operations those of the real tokens count: padding is no useful work.
        """
        rows, width = shape
        self._counted["step"] += 1
        self._counted["tokens_seen"] += tokens
        self._counted["padded_tokens_seen"] += rows * width
        self._counted["flops"] += self._flops_of_width[width] * tokens / (rows * width)
        before_s = self._counted["train_s"]
        self._counted["train_s"] = self._clock() - self._start - self._away_s
        self._slowest_s = max(self._slowest_s, self._counted["train_s"] - before_s)

    def mark(self) -> None:
        """What comes is told apart from what was."""
        self._marked, self._slowest_s = dict(self._counted), -math.inf

    def figures(self) -> dict[str, float]:
        """Counters since the beginning, and rates and the slowest step since the mark."""
        counters = {key: self._counted[key] for key in ("tokens_seen", "padded_tokens_seen", "train_s")}
        rates = self._rates(self._marked) | {SLOWEST: self._slowest_s}
        return counters | rates | {"time_s": self._clock() - self._start}

    def whole(self) -> dict[str, float] | None:
        """Rates since the beginning; `None` where no step was counted, which has no rate."""
        return self._rates(self._first) if self._counted["step"] else None

    def _rates(self, before: Mapping[str, float]) -> dict[str, float]:
        rates = pace(self._counted, before)
        seconds = self._counted["train_s"] - before["train_s"]
        flops = rate(self._counted["flops"] - before["flops"], seconds)
        rates["model_flops_per_s"] = flops
        if self._peak_flops is not None:
            rates["mfu"] = flops / self._peak_flops
        return rates
