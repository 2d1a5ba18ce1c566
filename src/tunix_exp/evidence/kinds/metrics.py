"""`metrics.jsonl`: a line for each logged step, with the counters that its rates follow from."""

import statistics
from collections.abc import Iterator
from typing import Annotated

from pydantic import ConfigDict, Field

from tunix_exp.evidence.kinds import config, plan
from tunix_exp.evidence.kinds.kind import Compared, Disagreement, Found, Kind, Line, when_trained
from tunix_exp.evidence.kinds.rates import PEAK_KEYS, SLOWEST, UNSEEN, Row, contradictions, rates_disagreement
from tunix_exp.evidence.kinds.steps import logged_steps, wrong_steps
from tunix_exp.evidence.layout import MANIFEST
from tunix_exp.evidence.opened import OpenedRun
from tunix_exp.evidence.sections import Finding
from tunix_exp.evidence.strict_json import BrokenFile
from tunix_exp.objectives import registry

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


def _steps(run: OpenedRun) -> Found:
    """Every step that falls due is there, up to the last of the budget."""
    done = run.manifest.steps_done
    if done is None:
        return  # the rules have said so
    every = run.count("training.log_every_steps")
    if every is None:
        raise BrokenFile(config.KIND.path, "`training.log_every_steps` is null")
    yield from wrong_steps(run.lines(KIND), logged_steps(after=run.first_step, last=done, every=every))
    budget = run.count("training.steps")
    if budget is not None and done != budget:
        yield Disagreement(MANIFEST, f"`steps_done` is {done}, but config.json has training.steps={budget}")


def _rates(run: OpenedRun) -> Found:
    """Rates are what the counters give, of each line and of the whole run, and no more than the plan's."""
    says, rows = run.manifest, run.lines(KIND)
    flops, peak_flops = plan.work(run)
    wrong = list(contradictions(rows, after=run.first_step, flops=flops, peak_flops=peak_flops))
    yield from wrong
    if wrong or not rows or says.tokens_per_s is None or not isinstance(says.throughput, dict):
        return  # said just now, or by the rules
    whole = {"tokens_per_s": says.tokens_per_s, **says.throughput}
    for what in rates_disagreement(rows, whole, after=run.first_step):
        yield Disagreement(MANIFEST, what)


def _of_the_objective(run: OpenedRun) -> Found:
    """Every line has the objective's metrics, and they follow from each other."""
    name, sets = registry.name_in(run.facts.config), registry.sets_in(run.facts.config)
    for row in run.lines(KIND):
        for what in registry.contradictions(name, row, sets):
            yield f"step {row['step']}: {what}"


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


KIND = Kind(
    path="metrics.jsonl",
    name="metrics",
    holds="one line per logged step",
    when=when_trained,
    schema=MetricsLine,
    is_appended=True,
    curves="",
    integrity=(_steps, _of_the_objective, _rates),
    sanity=(_odd_times, _mfu_over_one, _peaks),
    compared=(Compared("step", leaves_out=_OF_THE_MACHINE),),
)
