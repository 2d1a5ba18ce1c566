"""`metrics.jsonl` and `heldout.jsonl`: which steps they must hold, and what each line says."""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from tunix_exp.evidence.strict_json import BrokenFile, read_jsonl

# step counts finished updates; a line may say more than this, but in numbers only
KEYS = (
    "step", "loss", "lr", "grad_norm", "tokens", "padded_tokens", "response_tokens",
    "tokens_seen", "padded_tokens_seen", "train_s", "time_s",
    "tokens_per_s", "padded_tokens_per_s", "step_s", "model_flops_per_s",
)  # fmt: skip
HELDOUT_KEYS = ("step", "loss_nats")
# Of these two a line has the one that its machine knows.
PEAK_KEYS = ("device_peak_bytes", "process_peak_bytes")

# Of all steps that a line speaks for; lines of older runs lack it.
SLOWEST = "slowest_step_s"

_ROUNDING = 1 + 1e-9
_CLOCK_DIGITS = 1e-9

# The counters of a line, as they stand before a run's first step.
UNSEEN: Mapping[str, float] = {"step": 0, "tokens_seen": 0, "padded_tokens_seen": 0, "train_s": 0.0}


def is_logged(step: int, *, last: int, every: int) -> bool:
    """Whether the figures of `step` are written down: those of step 1, every n-th and the last are."""
    return step in (1, last) or step % every == 0


def logged_steps(*, after: int, last: int, every: int) -> list[int]:
    """The steps in (`after`, `last`] that are written down."""
    return [step for step in range(after + 1, last + 1) if is_logged(step, last=last, every=every)]


def heldout_steps(*, after: int, last: int, every: int | None) -> list[int]:
    """The steps in (`after`, `last`] after which the held-out loss is due."""
    return [] if every is None else [step for step in range(after + 1, last + 1) if step % every == 0]


def step_line(row: Mapping[str, Any]) -> str:
    """What the log says of a line of `metrics.jsonl`."""
    return f"step {row['step']}: loss {row['loss']:.4f}, {row['tokens_per_s']:.0f} tokens/s"


def heldout_line(row: Mapping[str, Any]) -> str:
    """What the log says of a line of `heldout.jsonl`."""
    return f"step {row['step']}: held-out loss {row['loss_nats']:.4f} nats per token"


def rate(amount: float, seconds: float) -> float:
    """So much a second; zero where the clock says that no time has passed."""
    return amount / seconds if seconds else 0.0


def pace(now: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """The rates between two states of the counters: real tokens, all tokens and seconds a step."""
    seconds = now["train_s"] - before["train_s"]
    return {
        "tokens_per_s": rate(now["tokens_seen"] - before["tokens_seen"], seconds),
        "padded_tokens_per_s": rate(now["padded_tokens_seen"] - before["padded_tokens_seen"], seconds),
        "step_s": seconds / (now["step"] - before["step"]),
    }


def contradictions(
    rows: Sequence[Mapping[str, float]], *, after: int, flops: float, peak_flops: float | None
) -> Iterator[str]:
    """What the lines of `metrics.jsonl` have against each other, and against the plan of their run.

    The run went on from step `after`; its widest step asks `flops` of a device that can do `peak_flops`. What
    a clock may tell on a strange machine is no contradiction: numbers must follow from each other. Of no line
    there is nothing to say: whether some are due is another question.
    """
    if not rows:
        return
    before: Mapping[str, float] = {**UNSEEN, "step": after}
    if any(len(row.keys() & set(PEAK_KEYS)) != 1 for row in rows):
        yield f"not every line has one of `{'` and `'.join(PEAK_KEYS)}`"
    for row in rows:
        where = f"step {row['step']}: "
        if not 0 <= row["response_tokens"] <= row["tokens"] <= row["padded_tokens"]:
            yield where + "`response_tokens`, `tokens` and `padded_tokens` do not contain each other"
        for key in ("tokens", "padded_tokens"):
            seen = row[f"{key}_seen"] - before[f"{key}_seen"]
            if seen < row[key] or (seen > row[key] and row["step"] - before["step"] == 1):
                yield where + f"`{key}_seen` grew by {seen}, its own `{key}` are {row[key]}"
        for key, due in pace(row, before).items():
            if row[key] != due:
                yield where + f"`{key}` is {row[key]}, the counters give {due}"
        if row["model_flops_per_s"] * row["step_s"] > flops * _ROUNDING:
            yield where + f"`model_flops_per_s` is more than the {flops:.4g} operations of the plan's step"
        if "mfu" in row and peak_flops is None:
            yield where + "claims an `mfu`, and the plan knows no peak of the device"
        elif "mfu" not in row and peak_flops is not None:
            yield where + "has no `mfu`, and the plan knows the device's peak"
        elif peak_flops is not None and row["mfu"] != row["model_flops_per_s"] / peak_flops:
            yield where + f"`mfu` is {row['mfu']}, not `model_flops_per_s` over the plan's peak"
        if SLOWEST in row and row[SLOWEST] < row["step_s"] - _CLOCK_DIGITS * max(abs(row["train_s"]), 1):
            yield where + f"`{SLOWEST}` is less than `step_s`, the mean"
        before = row


def rates_disagreement(
    rows: Sequence[Mapping[str, float]], whole: Mapping[str, float], *, after: int
) -> Iterator[str]:
    """Where the rates of a whole run are not what its lines come to."""
    for key, due in pace(rows[-1], {**UNSEEN, "step": after}).items():
        if key not in whole or whole[key] != due:
            yield f"`{key}` is not what the counters of the last line give, {due}"
    for key in ("model_flops_per_s", "mfu"):
        found = [row[key] for row in rows if key in row]
        if (key in whole) != bool(found):
            yield f"`{key}` is in {'the manifest' if key in whole else 'metrics.jsonl'} alone"
        elif found:
            yield from _mean_disagreement(rows, key, whole[key])


def _mean_disagreement(rows: Sequence[Mapping[str, float]], key: str, whole: float) -> Iterator[str]:
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


def read_metrics(path: Path, *, file: str, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """The lines of a metrics file, steps strictly increasing; else a `BrokenFile` with the line."""
    rows = read_jsonl(path, file=file)
    previous = 0
    for line, row in enumerate(rows, start=1):
        for fault in _faults(row, keys):
            raise BrokenFile(file, fault, line=line)
        if row["step"] <= previous:
            raise BrokenFile(file, f"step {row['step']} follows step {previous}", line=line)
        previous = row["step"]
    return rows


def step_disagreement(rows: list[dict[str, Any]], expected: list[int]) -> str | None:
    """How the steps of `rows` differ from `expected`; `None` when they are the same."""
    found = [row["step"] for row in rows]
    if found == expected:
        return None
    missing = sorted(set(expected) - set(found))
    extra = sorted(set(found) - set(expected))
    parts = [f"holds {len(found)} steps where {len(expected)} are due"]
    parts += [f"step {step} is missing" for step in missing[:1]]
    parts += [f"step {step} is not due" for step in extra[:1]]
    return "; ".join(parts)


def _faults(row: dict[str, Any], keys: tuple[str, ...]) -> Iterator[str]:
    for key in keys:
        if key not in row:
            yield f"has no `{key}`"
    for key, value in row.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield f"`{key}` is {value!r}, not a number"
    if isinstance(row["step"], float) or row["step"] < 1:
        yield f"`step` is {row['step']!r}, not a count of finished updates"
