"""A process among those that compute one run: what it says to the others, and what it hears of them.

No collective computation tells that a process is gone: it waits. So a thread says every other second that
its process is alive, and hears of those that ended; then the main thread has `GRACE_S` to end the run.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tunix_exp.errors import Interrupted, UserError
from tunix_exp.exits import COMPLETED, FAILED, INTERRUPTED, REGRESSED
from tunix_exp.interruption import GRACE_S

_BEATS = 10  # in a time-out
_POLL_S = 1.0
_ALIVE, _ENDED, _LEFT, _STOP = "tunix_exp/alive", "tunix_exp/ended", "tunix_exp/left", "tunix_exp/stop"
# A process that reads of a stop two steps later has read of it: what it waited for, all had begun by then.
_STEPS_TO_HEAR = 2


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that is no longer part of the run, on which host, in which stage, and why."""

    process: int
    host: str
    status: Literal["failed", "interrupted", "lost"]
    stage: str
    says: str

    def error(self) -> Exception:
        """What ends the run in the other processes."""
        who = f"process {self.process} on {self.host}"
        if self.status == "interrupted":
            return Interrupted(f"{who} was interrupted: {self.says}")
        if self.status == "lost":
            return UserError(
                f"{who} is lost: {self.says}",
                where=f"hosts/{self.process}.log" if self.process else "the console of process 0",
                remedy="look there, and at what its host or scheduler says (out of memory, preempted,"
                " rebooted); then begin the processes again with training.resume=RUN",
            )
        return UserError(
            f"{who} failed in stage `{self.stage}`: {self.says}",
            where=f"hosts/{self.process}.log" if self.process else "the run directory",
            remedy="mend it there; all processes end with the first that fails",
        )


class Group:
    """The others, as a process sees them."""

    def __init__(self, client: Any, address: str, index: int, count: int, silence_s: float) -> None:
        """Say that it is here, and listen, from now on."""
        self.address, self.index, self.count, self.silence_s = address, index, count, silence_s
        self.heard: Ended | None = None
        self.at_worst: Callable[[Ended], None] | None = None
        self.is_ending = False
        self._client, self._calls, self._stop_at = client, 0, None
        self._beats: dict[str, tuple[str, float]] = {}
        self._is_over = threading.Event()
        self.hosts = [socket.gethostname()]
        self.hosts = self.everyone("hosts", socket.gethostname())
        self._watching = threading.Thread(target=self._watch, name="hosts", daemon=True)
        self._watching.start()

    def everyone(self, name: str, value: Any) -> list[Any]:
        """What each process said under the name, in their order."""
        self._calls += 1
        place = f"tunix_exp/{self._calls}/{name}"
        self._client.key_value_set(f"{place}/{self.index}", json.dumps(value))
        return [json.loads(self._waited_for(f"{place}/{one}")) for one in range(self.count)]

    def _waited_for(self, key: str) -> str:
        while True:
            if self.heard is not None:
                raise self.heard.error()
            with contextlib.suppress(RuntimeError):  # not there yet; when its process is gone, we shall hear
                return self._client.blocking_key_value_get(key, int(_POLL_S * 1000))

    def stops(self, asked: bool, done: int) -> bool:
        """Whether all stop after `done` steps, as one of them was `asked` to: at the same step."""
        if asked and self._stop_at is None:
            with contextlib.suppress(RuntimeError):  # another was asked first
                self._client.key_value_set(_STOP, str(done + _STEPS_TO_HEAR))
        if self._stop_at is None:
            with contextlib.suppress(RuntimeError):  # nobody was
                self._stop_at = int(self._client.key_value_try_get(_STOP))
        return self._stop_at is not None and done >= self._stop_at

    def tell_end(self, status: Literal["failed", "interrupted"], stage: str, says: str) -> None:
        """The others hear that this process has ended, unless one of them had before it."""
        self.is_ending = True
        if self.heard is None:
            self._say_ended(Ended(self.index, self.hosts[self.index], status, stage, says))

    def explained(self, error: Exception) -> Exception:
        """Of an error that may come of another process's end, that end: waited for until it must be known."""
        until = time.monotonic() + self.silence_s + 2 * self.silence_s / _BEATS
        while self.heard is None and time.monotonic() < until:
            time.sleep(0.05)
        return error if self.heard is None else self.heard.error()

    def leave(self, status: int) -> None:
        """All is said; the last one out is process 0, as the others hear through it. Does not return but of
        a run that ended well.
        """
        if status not in (COMPLETED, REGRESSED) and not self.is_ending:
            self.tell_end("failed", "the beginning", f"it ended with status {status}")
        with contextlib.suppress(RuntimeError):
            self._client.key_value_set(f"{_LEFT}/{self.index}", "")
        self._is_over.set()
        if status in (COMPLETED, REGRESSED):
            import jax

            jax.distributed.shutdown()
            return
        until = time.monotonic() + 2 * GRACE_S
        with contextlib.suppress(RuntimeError):
            while self.index == 0 and time.monotonic() < until and self._gone() < self.count:
                time.sleep(0.05)
        # JAX's own shutdown waits for processes that will not come.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    def _gone(self) -> int:
        left = self._client.key_value_dir_get(_LEFT)
        lost = [value for _, value in self._client.key_value_dir_get(_ENDED) if '"lost"' in value]
        return len(left) + len(lost)

    def _watch(self) -> None:
        number = 0
        while not self._is_over.wait(min(self.silence_s / _BEATS, 2.0)):
            number += 1
            try:
                self._client.key_value_set(f"{_ALIVE}/{self.index}", str(number), allow_overwrite=True)
                if self.index == 0:
                    self._miss()
                ended = [Ended(**json.loads(value)) for _, value in self._client.key_value_dir_get(_ENDED)]
            except RuntimeError as error:  # the service is gone, and process 0 with it
                ended = [Ended(0, self.hosts[0], "lost", "unknown", str(error).partition("\n")[0])]
            others = [one for one in ended if one.process != self.index]
            if others:
                self.heard = self.heard or others[0]
                self._await_end(self.heard)
                return

    def _miss(self) -> None:
        """Who has been silent for too long is lost, and all hear of it."""
        now = time.monotonic()
        for key, value in self._client.key_value_dir_get(_ALIVE):
            if self._beats.get(key, ("", 0.0))[0] != value:
                self._beats[key] = value, now
            elif now - self._beats[key][1] > self.silence_s:
                one = int(key.rpartition("/")[2])
                what = f"it has not been heard of for {self.silence_s:g} s"
                self._say_ended(Ended(one, self.hosts[one], "lost", "unknown", what))

    def _say_ended(self, ended: Ended) -> None:
        with contextlib.suppress(RuntimeError):  # it said so itself, or nobody is left to hear
            self._client.key_value_set(f"{_ENDED}/{ended.process}", json.dumps(asdict(ended)))

    def _await_end(self, ended: Ended) -> None:
        """The main thread ends the run, or in its place `at_worst` and the process."""
        until = time.monotonic() + GRACE_S
        while time.monotonic() < until:
            if self.is_ending or self._is_over.is_set():
                return
            time.sleep(0.05)
        try:
            if self.at_worst is not None:
                self.at_worst(ended)
            os.write(2, f"{ended.error()}\n".encode())
        finally:
            os._exit(INTERRUPTED if ended.status == "interrupted" else FAILED)
