"""What is printed may be lost or simplified; who prints goes on.

A reader goes away, a disk behind stdout is full, a terminal knows no arrow, a shell closes what it hands on:
each would raise in whoever printed last, most often a library.
"""

import codecs
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

# What this package prints beyond ASCII, in ASCII; anything else is spelled as Python spells it.
_PLAIN = {
    "→": "->", "←": "<-", "…": "...", "–": "-", "—": "--", "−": "-", "×": "x", "·": "-", "✓": "+", "✗": "x",
    "“": '"', "”": '"', "‘": "'", "’": "'", "≤": "<=", "≥": ">=", "±": "+-",
    "█": "#", "─": "-", "━": "-", "╸": "-", "╺": "-", "│": "|", "┃": "|", "\u00a0": " ", "\u202f": " ",
}  # fmt: skip
_ERRORS = "tunix_exp.plain"

_lost: dict[str, str] = {}


def losses() -> dict[str, str]:
    """Why each stream that was lost so far was lost, by its name."""
    return dict(_lost)


def flush() -> None:
    """What was printed so far has reached the system, or is known to be lost."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, Kept):
            stream.flush()


class Kept:
    """A text stream in whose place nothing raises: what cannot be written is gone, and `losses` says why."""

    def __init__(self, stream: TextIO | None, name: str) -> None:
        """Write to `stream`; `None` is one that was closed before the process began."""
        self._name = name
        self._stream = _nowhere() if stream is None else stream
        if stream is None:
            _lost[name] = "it was closed when the process began"
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_ERRORS)  # type: ignore[union-attr]

    def write(self, text: str) -> int:
        """The text's length, whatever became of it."""
        try:
            self._stream.write(text)
        except BlockingIOError:
            self._wait_from_now_on()
        except (OSError, ValueError) as error:
            self._give_up(error)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Each line is written."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """What was written is the system's, or lost."""
        try:
            self._stream.flush()
        except BlockingIOError:
            self._wait_from_now_on()
        except (OSError, ValueError) as error:
            self._give_up(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _wait_from_now_on(self) -> None:
        """Another program has left the terminal so that a write does not wait; what did not fit is gone."""
        os.set_blocking(self._stream.fileno(), True)

    def _give_up(self, error: Exception) -> None:
        """From now on everything goes nowhere: what Python holds back too, and what C libraries print."""
        is_first = self._name not in _lost
        why = error.strerror if isinstance(error, OSError) else None
        _lost.setdefault(self._name, why or str(error))
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = _nowhere()
        # A reader that went away has read enough; of anything else somebody should hear.
        if is_first and self._name == "stdout" and getattr(error, "errno", None) != errno.EPIPE:
            print(f"stdout is lost: {_lost[self._name]}", file=sys.stderr)


def keep() -> None:
    """`sys.stdout` and `sys.stderr` never raise, and no file that is opened later takes their place."""
    _fill_closed()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, Kept):
            setattr(sys, name, Kept(stream, name))


@contextmanager
def kept() -> Iterator[None]:
    """The same inside; what is still held back at the end is written, or lost."""
    before = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    keep()
    try:
        yield
    finally:
        for name, stream in before.items():
            getattr(sys, name).flush()
            if not isinstance(stream, Kept):
                setattr(sys, name, stream)


def _fill_closed() -> None:
    """Descriptors 0 to 2 are open: else the next file would get the number that libraries print to."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8", errors=_ERRORS)


def _plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    spelled = (_PLAIN[c] if c in _PLAIN else c.encode("ascii", "backslashreplace").decode() for c in text)
    return "".join(spelled), error.end


codecs.register_error(_ERRORS, _plain)
