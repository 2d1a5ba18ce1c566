"""`run_manifest.json`: what was run, on what, with which result, and the hash of every other file."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from tunix_exp.evidence.findings import derive
from tunix_exp.evidence.kinds import plan
from tunix_exp.evidence.kinds.kind import ANY_END, Check, Compared, Disagreement, Kind, always
from tunix_exp.evidence.layout import MANIFEST
from tunix_exp.evidence.manifest import Finding
from tunix_exp.evidence.opened import OpenedRun
from tunix_exp.evidence.rules import rule_breaches

# The system's clock and the run's own may differ by a second, and by what setting the time gently makes.
_DRIFT_S = 1.0
_DRIFT = 1e-3


def _rules(run: OpenedRun) -> Iterator[Disagreement]:
    """It knows what a run of its status must know."""
    for breach in rule_breaches(run.manifest, status=run.status):
        yield Disagreement(MANIFEST, breach)


def _hashes(run: OpenedRun) -> Iterator[Disagreement]:
    """Every file has the hash that stands here, and none has come or gone since."""
    if run.manifest.files is None:
        return  # a run that could not even read its files back; the rules know which may
    listed, present = run.manifest.files, run.files - {MANIFEST}
    for name in sorted(listed.keys() - present):
        yield Disagreement(name, "is missing: the manifest has its hash")
    for name in sorted(present - listed.keys()):
        yield Disagreement(name, "is not in the manifest: it came after the run ended")
    for name in sorted(present & listed.keys()):
        if run.digests[name] != listed[name]:
            expected, found = listed[name][:12], run.digests[name][:12]
            what = f"differs from its hash in the manifest: {found}… was found, {expected}… is recorded"
            yield Disagreement(name, what)


def _findings(run: OpenedRun) -> Iterator[Disagreement]:
    """Its findings are what the evidence gives; a run of version 1 may have recorded none."""
    says = run.manifest.findings
    if says is None:
        return
    due = derive(run)
    recorded = {(one.code, one.where) for one in says}
    for one in due:
        if (one.code, one.where) not in recorded:
            yield Disagreement(MANIFEST, f"`findings` lacks one: {one.where}: {one.sentence}")
    shown = {(one.code, one.where) for one in due}
    for one in says:
        if (one.code, one.where) not in shown:
            what = f"`findings` has one that no file shows: {one.where}: {one.sentence}"
            yield Disagreement(MANIFEST, what)


def _clock(run: OpenedRun) -> Iterator[Finding]:
    """The system's clock against the run's own."""
    says = run.manifest
    if says.finished_at is None or says.elapsed_s is None:
        return
    begun, ended = (datetime.fromisoformat(one) for one in (says.started_at, says.finished_at))
    ahead_s = (ended - begun).total_seconds() - says.elapsed_s
    if abs(ahead_s) > _DRIFT_S + _DRIFT * abs(says.elapsed_s):
        how = "back" if ahead_s < 0 else "forward, or the machine slept"
        much = f"{abs(ahead_s):.0f} s {'less' if ahead_s < 0 else 'more'}"
        yield Finding(
            code="clock was set",
            where=f"{MANIFEST}, started_at and finished_at",
            sentence=f"between them lie {much} than the {says.elapsed_s:.0f} s that the run took by its "
            f"own clock: the system's was set {how}",
        )


def _durations(run: OpenedRun) -> Iterator[Finding]:
    """Durations below zero."""
    says = run.manifest
    times = {f"times_s, {stage}": seconds for stage, seconds in (says.times_s or {}).items()}
    times |= {} if says.compiles is None else {"compiles": says.compiles.seconds}
    times |= {} if says.elapsed_s is None else {"elapsed_s": says.elapsed_s}
    for name, seconds in times.items():
        if seconds < 0:
            yield Finding(
                code="negative time",
                where=f"{MANIFEST}, {name}",
                sentence=f"it is {seconds:.3g} s: a clock was set back meanwhile",
            )


def _memory(run: OpenedRun) -> Iterator[Finding]:
    """A peak of memory that is none, or over what the device has."""
    peak, where = run.manifest.peak_memory_bytes, f"{MANIFEST}, peak_memory_bytes"
    if peak is None:
        return
    if peak <= 0:
        yield Finding(
            code="peak memory unknown",
            where=where,
            sentence=f"{peak} bytes: no peak memory was reported",
        )
    # a process may hold more than a device has
    device_bytes = plan.device_memory_bytes(run) if run.manifest.peak_memory_of == "device" else None
    if device_bytes is not None and peak > device_bytes:
        yield Finding(
            code="peak memory over the device's",
            where=where,
            sentence=f"{peak:,} bytes, more than the device memory of {device_bytes:,}",
        )


_INPUTS = (
    "data.sha256", "data.rows", "eval.sha256", "eval.rows",
    "model.tokenizer_digest", "model.base_weight_hash",
)  # fmt: skip
_OUTCOMES = ("model.trained_weight_hash", "adapter.frozen_weight_hash_after")


def _known(says: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    pairs = {key: (says[key.split(".")[0]] or {}).get(key.split(".")[1]) for key in keys}
    return {key: value for key, value in pairs.items() if value is not None}


def _inputs(says: Mapping[str, Any]) -> dict[str, Any]:
    return _known(says, _INPUTS)


def _outcomes(says: Mapping[str, Any]) -> dict[str, Any]:
    return _known(says, _OUTCOMES)


KIND = Kind(
    path=MANIFEST,
    name="manifest",
    holds="what was run, on what, with which result, and the sha256 of every other file",
    when=always,
    also_at=ANY_END,
    is_open=True,
    integrity=(
        Check(_rules, at_any_end=True),
        Check(_hashes, at_any_end=True),
        Check(_findings, at_any_end=True),
    ),
    sanity=(_clock, _durations, _memory),
    compared=(
        Compared("value", values=_inputs),
        Compared("value", values=_outcomes, of_the_end=True),
    ),
)
