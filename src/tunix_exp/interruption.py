"""Signals that ask the process to stop: Ctrl-C, a scheduler's SIGTERM, a terminal that goes away.

Python runs a signal's handler when the main thread is back in the interpreter. That may be minutes away, as a
compiler can hold the thread, and a library may swallow what the handler raises. So a thread of its own hears
of every signal too, through `signal.set_wakeup_fd`, and ends the process if the main thread does not answer.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tunix_exp.exits import INTERRUPTED

# What people, terminals and schedulers send before they kill: Slurm's `--signal=USR1@90`, a limit of time.
_ALWAYS = ("SIGINT", "SIGTERM")
_WHERE_NOBODY_ELSE_DOES = ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
SIGNALS = tuple(
    getattr(signal, name) for name in (*_ALWAYS, *_WHERE_NOBODY_ELSE_DOES) if hasattr(signal, name)
)

# A process that gets SIGTERM is killed after 10 s (Docker) to 30 s (Slurm, Kubernetes).
GRACE_S = 5.0
# Both a terminal and a parent process may send a signal on: so close together they are one request.
_ONE_REQUEST_S = 1.0
_POLL_S = 0.05
_FROM_HANDLER = 0x80


class Stopped(KeyboardInterrupt):
    """A signal asked the process to stop; the text is its name."""


class _Requests:
    """What the process was asked, and what its main thread does about it."""

    def __init__(self) -> None:
        self.asked: str | None = None
        self.defers = False
        self.is_ending = self.has_begun_to_end = self.is_over = False
        # Of each request that the main thread has heard: whether it came during the end.
        self.heard_in_end: list[bool] = []
        self.held = 0
        self.at_worst: Callable[[str], None] | None = None
        self.is_raised = False
        self._is_urgent = False
        self._heard_at = -_ONE_REQUEST_S
        self._before: dict[int, Any] = {}
        self._ears, self._mouth = socket.socketpair()
        self._mouth.setblocking(False)

    def take(self) -> None:
        """Signals are heard here; those that are ignored, or somebody else's, are left alone."""
        self._wakeup_before = signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._watch, name="signals", daemon=True).start()
        for number in SIGNALS:
            before = signal.getsignal(number)
            is_free = before in (signal.SIG_DFL, signal.default_int_handler)
            if is_free or (before is signal.SIG_IGN and number.name in _ALWAYS):
                self._before[number] = before
                signal.signal(number, self._hear)

    def release(self) -> None:
        """Every signal does what it did before."""
        for number, before in self._before.items():
            signal.signal(number, before)
        signal.set_wakeup_fd(self._wakeup_before)
        self._mouth.close()

    def _hear(self, number: int, _frame: Any) -> None:
        """In the main thread: raise, unless that has to wait."""
        now = time.monotonic()
        if now - self._heard_at < _ONE_REQUEST_S:
            return
        self._heard_at = now
        self.heard_in_end.append(self.is_ending)
        with suppress(OSError):  # an event loop may have taken the wake-up for itself
            self._mouth.send(bytes([_FROM_HANDLER | number]))
        self.asked = self.asked or signal.Signals(number).name
        if not (self.defers and len(self.heard_in_end) == 1):
            self.insist()

    def insist(self) -> None:
        """`Stopped` is raised, here or where what must not be left half-way is whole."""
        self._is_urgent = True
        self.raise_if_due()

    def raise_if_due(self) -> None:
        """Raise `Stopped`, once."""
        if self._is_urgent and not (self.is_raised or self.held or self.is_ending):
            self.is_raised = True
            raise Stopped(self.asked)

    def _watch(self) -> None:
        """In a thread of its own: the process ends when the main thread does not answer in time."""
        count, heard_at = 0, -_ONE_REQUEST_S
        while True:
            try:
                heard = self._ears.recv(1)
            except OSError:
                return
            if not heard:
                self._ears.close()
                return
            number, now = heard[0] & ~_FROM_HANDLER, time.monotonic()
            is_from_handler = bool(heard[0] & _FROM_HANDLER)
            is_known = len(self.heard_in_end) <= count if is_from_handler else now - heard_at < _ONE_REQUEST_S
            if number not in self._before or is_known:
                continue
            count, heard_at = count + 1, now
            # The training loop answers when its step is done, and its checkpoint saved.
            if not (self.defers and count == 1) and not self._is_answered(count, until=now + GRACE_S):
                self._cut_off(signal.Signals(number).name)

    def _is_answered(self, count: int, *, until: float) -> bool:
        """Whether the main thread begins to end before then; a further request during the end has no answer.

        This thread may wake when all is done: what counts is when the main thread heard of the request.
        """
        while time.monotonic() < until:
            is_before_end = count == 1 or self.heard_in_end[count - 1 : count] == [False]
            if self.is_over or (is_before_end and self.has_begun_to_end):
                return True
            time.sleep(_POLL_S)
        return False

    def _cut_off(self, name: str) -> None:
        try:
            if self.at_worst is not None:
                self.at_worst(name)
            said = f"interrupted ({name}): the process did not answer within {GRACE_S:g} s and was ended\n"
            os.write(2, said.encode())
        finally:
            os._exit(INTERRUPTED)

    def forget(self) -> None:
        """In a forked child: its signals are its own, and its parent hears nothing of them."""
        signal.set_wakeup_fd(-1)
        for number, before in self._before.items():
            signal.signal(number, before)


_requests: _Requests | None = None


def hold_back() -> None:
    """No signal arrives before `heed`, in this process or in the one that it begins again as."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def heed() -> None:
    """From now on a signal raises `Stopped` in the main thread, or ends the process if that does not help."""
    global _requests
    if _requests is None:
        _requests = _Requests()
        _requests.take()
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


@contextmanager
def heeded() -> Iterator[None]:
    """Signals are heeded inside; where they are already, or outside the main thread, nothing changes."""
    global _requests
    if _requests is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    heed()
    requests = _requests
    assert requests is not None
    try:
        yield
    finally:
        requests.is_over = True
        requests.release()
        _requests = None


def asked() -> str | None:
    """The signal that asked the process to stop, if one did."""
    return None if _requests is None else _requests.asked


def is_stopping() -> bool:
    """Whether `Stopped` was raised; what fails from then on fails because of it."""
    return _requests is not None and _requests.is_raised


def at_worst(write: Callable[[str], None] | None) -> None:
    """`write` is called with the signal's name, in another thread, before a stuck process is ended."""
    if _requests is not None:
        _requests.at_worst = write


@contextmanager
def held() -> Iterator[None]:
    """What happens inside is whole: `Stopped` is raised after it."""
    requests = _requests
    if requests is None:
        yield
        return
    requests.held += 1
    try:
        yield
    finally:
        requests.held -= 1
    if threading.current_thread() is threading.main_thread():
        requests.raise_if_due()


@contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """The first signal is a request that the block asks for and heeds; the second raises `Stopped`.

    A request that comes too late for the block to heed is raised at its end.
    """
    with heeded():
        requests = _requests
        if requests is None or threading.current_thread() is not threading.main_thread():
            yield lambda: asked() is not None
            return
        requests.defers = True
        try:
            yield lambda: requests.asked is not None
        finally:
            requests.defers = False
        if requests.asked is not None:
            requests.insist()


@contextmanager
def ending() -> Iterator[None]:
    """No signal raises inside, as the process is about to end; a further one ends it within `GRACE_S`."""
    requests = _requests
    if requests is None:
        yield
        return
    requests.is_ending = requests.has_begun_to_end = True
    try:
        yield
    finally:
        requests.is_ending = False


def ended() -> None:
    """What the process had to do is done: signals change nothing any more."""
    if _requests is not None:
        _requests.is_ending = _requests.has_begun_to_end = True


def _in_child() -> None:
    global _requests
    if _requests is not None:
        with suppress(ValueError):  # forked outside the main thread
            _requests.forget()
        _requests = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
