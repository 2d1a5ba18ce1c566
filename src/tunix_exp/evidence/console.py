"""What a run says: to the terminal, and as plain UTF-8 lines into `training_log.txt`.

The only module that makes a console: on every one of them a text is what it is, brackets, colons and all.
"""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tunix_exp import interruption, streams

# Without a terminal a bar becomes lines: one per tenth, and one at least this often.
_LINE_EVERY_S = 15.0
_AS_IT_IS: Any = {"markup": False, "emoji": False, "highlight": False}


def plain_console(file: TextIO | None = None, **options: Any) -> Console:
    """A console that takes nothing in a text for markup, for an emoji's name or for something to colour."""
    return Console(file=file, **_AS_IT_IS, **options)


def table_text(table: Table) -> str:
    """The table as lines of text."""
    sink = io.StringIO()
    plain_console(sink, width=100).print(table)
    return sink.getvalue().rstrip()


# Counts so many more as done, and shows the newest figures beside it: `advance(1, loss=0.5)`.
Advance = Callable[..., None]


class RunLog:
    """The tee: every text goes to the terminal and, line by line with its time offset, into the file."""

    def __init__(
        self, path: Path, *, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin the file at `path`, which must not exist; offsets count from now."""
        self._console = plain_console() if console is None else console
        self._lost: set[str] = set()
        self._clock = clock
        self._start = clock()
        self._offset_s = 0.0
        self._file = path.open("x", encoding="utf-8", newline="\n", buffering=1)

    def say(self, text: str) -> None:
        """`text` is on the terminal and in the file; after `close` on the terminal alone."""
        self._console.print(text, soft_wrap=True, **_AS_IT_IS)
        self.note(text)
        self.note_losses()

    def console_lost(self) -> dict[str, str] | None:
        """Why each stream of the terminal was lost, by its name; `None` where none was."""
        streams.flush()
        self.note_losses()
        return streams.losses() or None

    def note_losses(self) -> None:
        """The file says once of each stream of the terminal that it was lost, and why."""
        for name, why in streams.losses().items():
            if name not in self._lost:
                self._lost.add(name)
                self.note(f"the console is lost: {name}: {why}; the run goes on")

    def elapsed_s(self) -> float:
        """The seconds since the log began, by its own clock."""
        return self._clock() - self._start

    def note(self, text: str) -> None:
        """`text` is in the file alone."""
        if self._file.closed:
            return
        # A clock that is set back does not turn the order of lines around; the manifest tells of it.
        self._offset_s = max(self._offset_s, self.elapsed_s())
        offset = f"{self._offset_s:10.3f}s"
        for line in text.splitlines() or [""]:
            printable = "".join(c if c.isprintable() else " " for c in line)
            with interruption.held():
                self._file.write(f"{offset}  {printable}".rstrip() + "\n")

    @contextmanager
    def progress(self, total: int, description: str, *, done: int = 0) -> Iterator[Advance]:
        """A bar on a terminal, elsewhere a line now and then; nothing of it goes into the file.

        Of the `total` so many are `done` when it begins.
        """
        if not self._console.is_terminal:
            yield self._lines(total, description, done)
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as bars:
            task = bars.add_task(description, total=total, completed=done, figures="")

            def advance(n: int = 1, **figures: float) -> None:
                shown: Any = {"figures": _figures(figures)} if figures else {}
                bars.update(task, advance=n, **shown)

            yield advance

    def _lines(self, total: int, description: str, first: int) -> Advance:
        done, start, said_tenth, said_at = first, self._clock(), 10 * first // max(total, 1), self._clock()

        def advance(n: int = 1, **figures: float) -> None:
            nonlocal done, said_tenth, said_at
            done, now = done + n, self._clock()
            tenth = 10 * done // max(total, 1)
            if tenth == said_tenth and now - said_at < _LINE_EVERY_S:
                return
            said_tenth, said_at = tenth, now
            left_s = (now - start) / (done - first) * (total - done)
            parts = [f"{description} {done}/{total}", _figures(figures), f"{left_s:.0f} s left"]
            self._console.print("  ".join(part for part in parts if part), soft_wrap=True, **_AS_IT_IS)

        return advance

    def close(self) -> None:
        """The file is complete and on disk."""
        self._file.close()


def _figures(figures: dict[str, float]) -> str:
    # a rate of five digits is whole, and none with an exponent
    forms = {name: ".0f" if 1e4 <= abs(value) < 1e9 else ".4g" for name, value in figures.items()}
    return "  ".join(f"{name} {value:{forms[name]}}" for name, value in figures.items())
