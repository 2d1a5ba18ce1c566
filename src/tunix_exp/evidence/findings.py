"""What is odd about a run, and true as far as anybody knows: it is written and shown, and fails nothing.

The test of the difference: could an honest run on a strange machine do this? A host that stalls, a clock
that is set, a driver that tells nonsense: these are findings. A hash, a number that follows from others, an
answer scored again: these are integrity, and `checks/` looks at them. That the manifest's findings are those
which the evidence gives, is integrity too.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from tunix_exp.evidence import layout
from tunix_exp.evidence.manifest import Finding, FindingCode
from tunix_exp.evidence.metrics import PEAK_KEYS, SLOWEST, UNSEEN
from tunix_exp.evidence.opened import OpenedRun, lookup
from tunix_exp.scoring.paired import mean_loss

Row = dict[str, float]

# A step has stalled when it took so much longer, and so many times as long, as steps usually take.
_STALL_S = 1.0
_STALL_TIMES = 4
# The first step of a process touches all of its memory for the first time, which is no stall.
_FIRST_S = 10.0
# The system's clock and the run's own may differ by a second, and by what setting the time gently makes.
_DRIFT_S = 1.0
_DRIFT = 1e-3
# Of one kind so many are told one by one.
_MOST_OF_A_KIND = 20


def derive(run: OpenedRun) -> tuple[Finding, ...]:
    """Everything odd that the evidence of `run` has, in an order that follows from it alone."""
    found: list[Finding] = []
    for look in _LOOKS:
        kinds: dict[FindingCode, list[Finding]] = {}
        for one in look(run):
            kinds.setdefault(one.code, []).append(one)
        for several in kinds.values():
            found += _abridged(several)
    return tuple(found)


def _abridged(several: Sequence[Finding]) -> list[Finding]:
    kept, rest = list(several[:_MOST_OF_A_KIND]), len(several) - _MOST_OF_A_KIND
    if rest > 0:
        last = kept[-1]
        kept[-1] = Finding(
            code=last.code, where=last.where, sentence=f"{last.sentence}; and {rest} more like it"
        )
    return kept


def _steps(run: OpenedRun) -> Iterator[Finding]:
    """Lines of the metrics whose time is odd."""
    rows = _metrics(run)
    before: Row = dict(UNSEEN) | {"step": _first_step(run)}
    usual = [_usual_s(row, _count(row, earlier)) for earlier, row in zip([before, *rows], rows, strict=False)]
    usual_s = statistics.median_low(usual) if usual else 0.0
    for place, row in enumerate(rows):
        where = _line(row)
        if row["train_s"] <= before["train_s"] or row["time_s"] < row["train_s"]:
            passed_s = row["train_s"] - before["train_s"]
            yield Finding(
                code="clock stood still or went back",
                where=where,
                sentence=f"by the clock {passed_s:.3g} s of training have passed since the line before, and "
                f"{row['time_s'] - row['train_s']:.3g} s beside it: its rates say nothing",
            )
        slowest_s = row[SLOWEST] if SLOWEST in row else row["step_s"]
        if slowest_s - usual_s >= (_STALL_S if place else _FIRST_S) and slowest_s >= _STALL_TIMES * usual_s:
            which = "the step" if _count(row, before) == 1 else f"one of {_count(row, before)} steps"
            yield Finding(
                code="stall",
                where=where,
                sentence=f"{which} took {slowest_s:.3g} s, where a step usually takes {usual_s:.3g} s",
            )
        before = row


def _use(run: OpenedRun) -> Iterator[Finding]:
    """More operations than the maker says that the device can do."""
    for row in _metrics(run):
        if "mfu" in row and row["mfu"] > 1:
            yield _over_one(_line(row), row["mfu"])
    whole = run.manifest.throughput
    if isinstance(whole, dict) and "mfu" in whole and whole["mfu"] > 1:
        yield _over_one(f"{layout.MANIFEST}, throughput", whole["mfu"])


def _over_one(where: str, mfu: float) -> Finding:
    return Finding(
        code="mfu over one",
        where=where,
        sentence=f"the MFU is {mfu:.4g}: more than the device's published peak, as where a stall before it "
        "shortens an interval, or the device is another than it says",
    )


def _clocks(run: OpenedRun) -> Iterator[Finding]:
    """The system's clock against the run's own, and durations below zero."""
    says = run.manifest
    if says.finished_at is not None and says.elapsed_s is not None:
        begun, ended = (datetime.fromisoformat(one) for one in (says.started_at, says.finished_at))
        ahead_s = (ended - begun).total_seconds() - says.elapsed_s
        if abs(ahead_s) > _DRIFT_S + _DRIFT * abs(says.elapsed_s):
            how = "back" if ahead_s < 0 else "forward, or the machine slept"
            much = f"{abs(ahead_s):.0f} s {'less' if ahead_s < 0 else 'more'}"
            yield Finding(
                code="clock was set",
                where=f"{layout.MANIFEST}, started_at and finished_at",
                sentence=f"between them lie {much} than the {says.elapsed_s:.0f} s that the run took by its "
                f"own clock: the system's was set {how}",
            )
    times = {f"times_s, {stage}": seconds for stage, seconds in (says.times_s or {}).items()}
    times |= {} if says.compiles is None else {"compiles": says.compiles.seconds}
    times |= {} if says.elapsed_s is None else {"elapsed_s": says.elapsed_s}
    for name, seconds in times.items():
        if seconds < 0:
            yield Finding(
                code="negative time",
                where=f"{layout.MANIFEST}, {name}",
                sentence=f"it is {seconds:.3g} s: a clock was set back meanwhile",
            )


def _memory(run: OpenedRun) -> Iterator[Finding]:
    """What the driver or the system said of memory, where that cannot be all."""
    says, before = run.manifest, None
    for row in _metrics(run):
        key = next((key for key in PEAK_KEYS if key in row), None)
        if key is None:
            continue  # a contradiction, and no finding
        if before is not None and key not in before:
            yield _other_holder(_line(row), key)
        elif before is not None and row[key] < before[key]:
            yield _fell(_line(row), row[key], before[key])
        before = row
    peak = says.peak_memory_bytes
    if peak is None:
        return
    where = f"{layout.MANIFEST}, peak_memory_bytes"
    key = f"{says.peak_memory_of}_peak_bytes"
    if before is not None and key not in before:
        yield _other_holder(where, key)
    elif before is not None and peak < before[key]:
        yield _fell(where, peak, before[key])
    if peak <= 0:
        yield Finding(
            code="peak memory unknown",
            where=where,
            sentence=f"it is {peak} bytes: nobody told how much was held",
        )
    if says.peak_memory_of != "device" or not run.has(layout.PLAN):
        return  # a process may hold more than a device has
    device_bytes = lookup(run.json(layout.PLAN), "device_memory_bytes", layout.PLAN)
    if device_bytes is not None and peak > device_bytes:
        yield Finding(
            code="peak memory over the device's",
            where=where,
            sentence=f"it is {peak:,} bytes, and the device is said to have {device_bytes:,}",
        )


def _fell(where: str, now: float, before: float) -> Finding:
    return Finding(
        code="peak memory fell",
        where=where,
        sentence=f"the most memory held so far is {now:,.0f} bytes, and was {before:,.0f} before",
    )


def _other_holder(where: str, key: str) -> Finding:
    return Finding(
        code="peak memory of another holder",
        where=where,
        sentence=f"it is of the {key.removesuffix('_peak_bytes')}, and the line before of another",
    )


def _last_loss(run: OpenedRun) -> Iterator[Finding]:
    """The held-out loss after the last step, computed twice by one program."""
    last = run.heldout[-1] if run.heldout else None
    if last is None or last["step"] != run.manifest.steps_done or not run.has(layout.TRAINED_LOSSES):
        return
    again = mean_loss(run.losses(layout.TRAINED_LOSSES))
    if last["loss_nats"] != again:
        yield Finding(
            code="last held-out loss rounded otherwise",
            where=f"{layout.HELDOUT}, step {last['step']}",
            sentence=f"it is {last['loss_nats']!r}, and {again!r} when it was computed again: on this "
            "machine one program does not always round alike",
        )


def _metrics(run: OpenedRun) -> list[Row]:
    return run.metrics if run.has(layout.METRICS) else []


def _first_step(run: OpenedRun) -> int:
    return 0 if run.manifest.resumed_from is None else run.manifest.resumed_from.step


def _count(row: Row, before: Row) -> int:
    return int(row["step"] - before["step"])


def _usual_s(row: Row, count: int) -> float:
    """The seconds of a step, the slowest of the line's left out where there are others."""
    if count < 2 or SLOWEST not in row:
        return row["step_s"]
    return (count * row["step_s"] - row[SLOWEST]) / (count - 1)


def _line(row: Row) -> str:
    return f"{layout.METRICS}, step {row['step']}"


_LOOKS: tuple[Callable[[OpenedRun], Iterator[Finding]], ...] = (_steps, _use, _clocks, _memory, _last_loss)
