"""`metrics.jsonl`: a line for each logged step, with the counters that its rates follow from."""

import math
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from tunix_exp.evidence.kinds import config, plan
from tunix_exp.evidence.kinds.kind import Check, Compared, Disagreement, Kind, Line, when_trained
from tunix_exp.evidence.kinds.steps import logged_steps, step_disagreement
from tunix_exp.evidence.layout import MANIFEST
from tunix_exp.evidence.manifest import Finding
from tunix_exp.evidence.opened import OpenedRun
from tunix_exp.evidence.strict_json import BrokenFile

Row = Mapping[str, Any]

# Of all steps that a line speaks for; lines of older runs lack it.
SLOWEST = "slowest_step_s"
# Of these two a line has the one that its machine knows.
PEAK_KEYS = ("device_peak_bytes", "process_peak_bytes")
# The counters of a line, as they stand before a run's first step.
UNSEEN: Mapping[str, float] = {"step": 0, "tokens_seen": 0, "padded_tokens_seen": 0, "train_s": 0.0}

_ROUNDING = 1 + 1e-9
_CLOCK_DIGITS = 1e-9
# A step has stalled when it took so much longer, and so many times as long, as steps usually take.
_STALL_S = 1.0
_STALL_TIMES = 4
# The first step of a process touches all of its memory for the first time, which is no stall.
_FIRST_S = 10.0


class MetricsLine(Line):
    """After `step` finished updates; of more figures than these every one is a number."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float]  # pyright: ignore[reportIncompatibleVariableOverride]

    step: Annotated[int, Field(ge=1)]
    loss: float
    lr: float
    grad_norm: float
    tokens: float
    padded_tokens: float
    response_tokens: float
    tokens_seen: float
    padded_tokens_seen: float
    train_s: float
    time_s: float
    tokens_per_s: float
    padded_tokens_per_s: float
    step_s: float
    model_flops_per_s: float


# What a clock, a driver, or the process's own beginning decides.
_OF_THE_MACHINE = frozenset(
    {"tokens_seen", "padded_tokens_seen", "train_s", "time_s", "tokens_per_s", "padded_tokens_per_s"}
    | {"step_s", "model_flops_per_s", "mfu", SLOWEST, *PEAK_KEYS}
)


def described(row: Row) -> str:
    """What the log says of a line."""
    return f"step {row['step']}: loss {row['loss']:.4f}, {row['tokens_per_s']:.0f} tokens/s"


def rate(amount: float, seconds: float) -> float:
    """So much a second; zero where the clock says that no time has passed."""
    return amount / seconds if seconds else 0.0


def pace(now: Row, before: Row) -> dict[str, float]:
    """The rates between two states of the counters: real tokens, all tokens and seconds a step."""
    seconds = now["train_s"] - before["train_s"]
    return {
        "tokens_per_s": rate(now["tokens_seen"] - before["tokens_seen"], seconds),
        "padded_tokens_per_s": rate(now["padded_tokens_seen"] - before["padded_tokens_seen"], seconds),
        "step_s": seconds / (now["step"] - before["step"]),
    }


# ── integrity ────────────────────────────────────────────────────────────────────────────────────────


def _steps(run: OpenedRun) -> Iterator[Disagreement]:
    """Every step that falls due is there, up to the last of the budget."""
    done = run.manifest.steps_done
    if done is None:
        return  # the rules have said so
    every = run.count("training.log_every_steps")
    if every is None:
        raise BrokenFile(config.KIND.path, "`training.log_every_steps` is null")
    wrong = step_disagreement(run.lines(KIND), logged_steps(after=run.first_step, last=done, every=every))
    if wrong is not None:
        yield Disagreement(KIND.path, wrong)
    budget = run.count("training.steps")
    if budget is not None and done != budget:
        yield Disagreement(MANIFEST, f"`steps_done` is {done}, but config.json has training.steps={budget}")


def _rates(run: OpenedRun) -> Iterator[Disagreement]:
    """Rates are what the counters give, of each line and of the whole run, and no more than the plan's."""
    says, rows = run.manifest, run.lines(KIND)
    flops, peak_flops = plan.work(run)
    wrong = list(contradictions(rows, after=run.first_step, flops=flops, peak_flops=peak_flops))
    for what in wrong:
        yield Disagreement(KIND.path, what)
    if wrong or not rows or says.tokens_per_s is None or not isinstance(says.throughput, dict):
        return  # said just now, or by the rules
    whole = {"tokens_per_s": says.tokens_per_s, **says.throughput}
    for what in rates_disagreement(rows, whole, after=run.first_step):
        yield Disagreement(MANIFEST, what)


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
    if not 0 <= row["response_tokens"] <= row["tokens"] <= row["padded_tokens"]:
        yield "`response_tokens`, `tokens` and `padded_tokens` do not contain each other"
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
            yield f"`{key}` is in {'the manifest' if key in whole else KIND.path} alone"
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


# ── findings ─────────────────────────────────────────────────────────────────────────────────────────


def where(row: Row) -> str:
    """A line as a finding names it."""
    return f"{KIND.path}, step {row['step']}"


def _odd_times(run: OpenedRun) -> Iterator[Finding]:
    """A clock that stood still or went back, and steps that stalled."""
    rows = run.lines(KIND)
    before: Row = {**UNSEEN, "step": run.first_step}
    usual = [_usual_s(row, _count(row, earlier)) for earlier, row in zip([before, *rows], rows, strict=False)]
    usual_s = statistics.median_low(usual) if usual else 0.0
    for place, row in enumerate(rows):
        passed_s = row["train_s"] - before["train_s"]
        if passed_s <= 0 or row["time_s"] < row["train_s"]:
            yield Finding(
                code="clock stood still or went back",
                where=where(row),
                sentence=f"by the clock {passed_s:.3g} s of training have passed since the line before, and "
                f"{row['time_s'] - row['train_s']:.3g} s beside it: its rates say nothing",
            )
        slowest_s = row[SLOWEST] if SLOWEST in row else row["step_s"]
        if slowest_s - usual_s >= (_STALL_S if place else _FIRST_S) and slowest_s >= _STALL_TIMES * usual_s:
            which = "the step" if _count(row, before) == 1 else f"one of {_count(row, before)} steps"
            yield Finding(
                code="stall",
                where=where(row),
                sentence=f"{which} took {slowest_s:.3g} s, where a step usually takes {usual_s:.3g} s",
            )
        before = row


def _mfu_over_one(run: OpenedRun) -> Iterator[Finding]:
    """More operations than the maker says that the device can do, in a line or the whole run."""
    whole = run.manifest.throughput
    told = [(where(row), row["mfu"]) for row in run.lines(KIND) if "mfu" in row]
    if isinstance(whole, dict) and "mfu" in whole:
        told.append((f"{MANIFEST}, throughput", whole["mfu"]))
    for place, mfu in told:
        if mfu > 1:
            yield Finding(
                code="mfu over one",
                where=place,
                sentence=f"the MFU is {mfu:.4g}: more than the device's published peak, as where a stall "
                "before it shortens an interval, or the device is another than it says",
            )


def _peaks(run: OpenedRun) -> Iterator[Finding]:
    """What the driver or the system said of memory, where that cannot be all."""
    says = run.manifest
    told: list[tuple[str, Row]] = [(where(row), row) for row in run.lines(KIND)]
    if says.peak_memory_bytes is not None:
        place = f"{MANIFEST}, peak_memory_bytes"
        told.append((place, {f"{says.peak_memory_of}_peak_bytes": says.peak_memory_bytes}))
    before: Row | None = None
    for place, row in told:
        key = next((key for key in PEAK_KEYS if key in row), None)
        if key is None:
            continue  # a contradiction, and no finding
        if before is not None and key not in before:
            holder = key.removesuffix("_peak_bytes")
            sentence = f"it is of the {holder}, and the line before of another"
            yield Finding(code="peak memory of another holder", where=place, sentence=sentence)
        elif before is not None and row[key] < before[key]:
            sentence = (
                f"the most memory held so far is {row[key]:,.0f} bytes, and was {before[key]:,.0f} before"
            )
            yield Finding(code="peak memory fell", where=place, sentence=sentence)
        before = row


def _count(row: Row, before: Row) -> int:
    return int(row["step"] - before["step"])


def _usual_s(row: Row, count: int) -> float:
    """The seconds of a step, the slowest of the line's left out where there are others."""
    if count < 2 or SLOWEST not in row:
        return row["step_s"]
    return (count * row["step_s"] - row[SLOWEST]) / (count - 1)


_PATH = "metrics.jsonl"
KIND = Kind(
    path=_PATH,
    name="metrics",
    holds="one line per logged step",
    when=when_trained,
    schema=MetricsLine,
    is_appended=True,
    curves="",
    integrity=(Check(_steps, (config.KIND.path, _PATH)), Check(_rates, (_PATH, plan.KIND.path))),
    sanity=(_odd_times, _mfu_over_one, _peaks),
    compared=(Compared("step", leaves_out=_OF_THE_MACHINE),),
)
