import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from tunix_exp.evidence.console import RunLog


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _log(path: Path, clock: Clock, *, terminal: bool = False) -> tuple[RunLog, io.StringIO]:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=terminal, width=80)
    return RunLog(path, console=console, clock=clock), shown


def test_what_is_said_is_on_the_terminal_and_in_the_file_with_its_offset(tmp_path: Path) -> None:
    clock = Clock()
    log, shown = _log(tmp_path / "log.txt", clock)
    clock.now = 1.5
    log.say("größer → [bold]plain[/bold]\nsecond")
    log.close()
    assert shown.getvalue() == "größer → [bold]plain[/bold]\nsecond\n"
    written = (tmp_path / "log.txt").read_bytes().decode()
    assert written == "     1.500s  größer → [bold]plain[/bold]\n     1.500s  second\n"


def test_a_note_is_in_the_file_alone(tmp_path: Path) -> None:
    log, shown = _log(tmp_path / "log.txt", Clock())
    log.note("step 10  loss 1.25")
    assert shown.getvalue() == ""
    assert "step 10  loss 1.25" in (tmp_path / "log.txt").read_text(encoding="utf-8")


def test_terminal_codes_do_not_reach_the_file(tmp_path: Path) -> None:
    log, _ = _log(tmp_path / "log.txt", Clock(), terminal=True)
    log.say("\x1b[31mred\x1b[0m and\ttab")
    log.close()
    text = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert "\x1b" not in text
    assert "\t" not in text


def test_after_closing_only_the_terminal_hears(tmp_path: Path) -> None:
    log, shown = _log(tmp_path / "log.txt", Clock())
    log.say("before")
    log.close()
    log.close()
    log.say("after")
    assert shown.getvalue() == "before\nafter\n"
    assert "after" not in (tmp_path / "log.txt").read_text(encoding="utf-8")


def test_a_log_that_exists_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("another run")
    with pytest.raises(FileExistsError):
        RunLog(tmp_path / "log.txt")


def test_without_a_terminal_progress_is_a_line_per_tenth(tmp_path: Path) -> None:
    clock = Clock()
    log, shown = _log(tmp_path / "log.txt", clock)
    with log.progress(100, "train") as advance:
        for _ in range(100):
            clock.now += 0.1
            advance(loss=1.23456)
    lines = shown.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[1] == "train 20/100  loss 1.235  8 s left"
    assert (tmp_path / "log.txt").read_text() == ""


def test_without_a_terminal_slow_progress_speaks_every_fifteen_seconds(tmp_path: Path) -> None:
    clock = Clock()
    log, shown = _log(tmp_path / "log.txt", clock)
    with log.progress(1000, "train") as advance:
        for _ in range(8):
            clock.now += 5.0
            advance()
    assert [line.split()[1] for line in shown.getvalue().splitlines()] == ["3/1000", "6/1000"]


def test_progress_of_what_was_begun_earlier_goes_on_from_there(tmp_path: Path) -> None:
    clock = Clock()
    log, shown = _log(tmp_path / "log.txt", clock)
    with log.progress(10, "train", done=6) as advance:
        for _ in range(4):
            clock.now += 2.0
            advance()
    lines = shown.getvalue().splitlines()
    assert lines[0] == "train 7/10  6 s left"
    assert lines[-1] == "train 10/10  0 s left"


def test_on_a_terminal_progress_is_a_bar_with_the_figures(tmp_path: Path) -> None:
    log, shown = _log(tmp_path / "log.txt", Clock(), terminal=True)
    with log.progress(4, "train") as advance:
        for _ in range(4):
            advance(loss=0.5, tokens_per_s=1200.0)
        log.say("said meanwhile")
        advance(0)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.getvalue())
    assert "loss 0.5" in plain
    assert "4/4" in plain
    assert "said meanwhile" in plain
    assert "said meanwhile" in (tmp_path / "log.txt").read_text(encoding="utf-8")


def test_a_rate_of_five_digits_has_no_exponent():
    from tunix_exp.evidence.console import _figures

    assert _figures({"loss": 5.55832, "tokens_per_s": 10332.4}) == "loss 5.558  tokens_per_s 10332"
