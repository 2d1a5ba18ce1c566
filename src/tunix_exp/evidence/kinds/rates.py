"""The rates of a training: they follow from the counters of its lines, and from nothing else."""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

Row = Mapping[str, Any]

# Of all steps that a line speaks for; lines of older runs lack it.
SLOWEST = "slowest_step_s"
# Of these two a line has the one that its machine knows.
PEAK_KEYS = ("device_peak_bytes", "process_peak_bytes")
# The counters of a line, as they stand before a run's first step.
UNSEEN: Mapping[str, float] = {"step": 0, "tokens_seen": 0, "padded_tokens_seen": 0, "train_s": 0.0}

_ROUNDING = 1 + 1e-9
_CLOCK_DIGITS = 1e-9


def rate(amount: float, of: float) -> float:
    """So much a second, or a step; zero where no time has passed by the clock, or there was no step."""
    return amount / of if of else 0.0


def pace(now: Row, before: Row) -> dict[str, float]:
    """The rates between two states of the counters: real tokens, all tokens and seconds a step."""
    seconds = now["train_s"] - before["train_s"]
    return {
        "tokens_per_s": rate(now["tokens_seen"] - before["tokens_seen"], seconds),
        "padded_tokens_per_s": rate(now["padded_tokens_seen"] - before["padded_tokens_seen"], seconds),
        "step_s": rate(seconds, now["step"] - before["step"]),
    }


def contradictions(
    rows: Sequence[Row], *, after: int, flops: float, peak_flops: float | None
) -> Iterator[str]:
    """What the lines have against each other, and against the plan of their run.

    The run went on from step `after`; its widest step asks `flops` of a device that can do `peak_flops`. What
    a clock may tell on a strange machine is no contradiction: numbers must follow from each other. Of no line
    there is nothing to say: whether some are due is another question.
    """
    before: Row = {**UNSEEN, "step": after}
    if any(len(row.keys() & set(PEAK_KEYS)) != 1 for row in rows):
        yield f"not every line has one of `{'` and `'.join(PEAK_KEYS)}`"
    for row in rows:
        for what in _of_a_line(row, before, flops, peak_flops):
            yield f"step {row['step']}: {what}"
        before = row


def _of_a_line(row: Row, before: Row, flops: float, peak_flops: float | None) -> Iterator[str]:
    if not 0 <= row["tokens"] <= row["padded_tokens"]:
        yield "`tokens` and `padded_tokens` do not contain each other"
    for key in ("tokens", "padded_tokens"):
        seen = row[f"{key}_seen"] - before[f"{key}_seen"]
        if seen < row[key] or (seen > row[key] and row["step"] - before["step"] == 1):
            yield f"`{key}_seen` grew by {seen}, its own `{key}` are {row[key]}"
    for key, due in pace(row, before).items():
        if row[key] != due:
            yield f"`{key}` is {row[key]}, the counters give {due}"
    if row["model_flops_per_s"] * row["step_s"] > flops * _ROUNDING:
        yield f"`model_flops_per_s` is more than the {flops:.4g} operations of the plan's step"
    if "mfu" in row and peak_flops is None:
        yield "`mfu` is recorded, but the device's peak is unknown to the plan"
    elif "mfu" not in row and peak_flops is not None:
        yield "`mfu` is missing, and the plan knows the device's peak"
    elif peak_flops is not None and row["mfu"] != row["model_flops_per_s"] / peak_flops:
        yield f"`mfu` is {row['mfu']}, not `model_flops_per_s` over the plan's peak"
    if SLOWEST in row and row[SLOWEST] < row["step_s"] - _CLOCK_DIGITS * max(abs(row["train_s"]), 1):
        yield f"`{SLOWEST}` is less than `step_s`, the mean"


def rates_disagreement(rows: Sequence[Row], whole: Row, *, after: int) -> Iterator[str]:
    """Where the rates of a whole run are not what its lines come to."""
    for key, due in pace(rows[-1], {**UNSEEN, "step": after}).items():
        if key not in whole or whole[key] != due:
            yield f"`{key}` is not what the counters of the last line give, {due}"
    for key in ("model_flops_per_s", "mfu"):
        found = [row[key] for row in rows if key in row]
        if (key in whole) != bool(found):
            yield f"`{key}` is in the {'manifest' if key in whole else 'lines'} alone"
        elif found:
            yield from _mean_disagreement(rows, key, whole[key])


def _mean_disagreement(rows: Sequence[Row], key: str, whole: float) -> Iterator[str]:
    """The rate of a whole run is the mean of its lines', each weighed by its seconds."""
    ends_s = [0.0, *(row["train_s"] for row in rows)]
    seconds = [end - begin for begin, end in pairwise(ends_s)]
    if not all(seconds):
        return  # what was done in no time has no rate, and counts in the whole
    parts = [row[key] * second for row, second in zip(rows, seconds, strict=True)]
    # a few roundings of each line's part, and of the sums that they were taken from
    slack = 8 * (len(rows) + 1) * sys.float_info.epsilon * math.fsum(map(abs, parts))
    if abs(whole * ends_s[-1] - math.fsum(parts)) > slack:
        yield f"`{key}` is {whole}, and the lines come to {rate(math.fsum(parts), ends_s[-1])}"
