"""`run_manifest.json`: what was run, on what, with which result, and the hash of every other file."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from tunix_exp.evidence.findings import derive
from tunix_exp.evidence.kinds import plan
from tunix_exp.evidence.kinds.kind import ANY_END, Compared, Disagreement, Found, Kind, always
from tunix_exp.evidence.layout import MANIFEST, hash_differences
from tunix_exp.evidence.opened import OpenedRun
from tunix_exp.evidence.rules import rule_breaches
from tunix_exp.evidence.sections import Finding

# The system's clock and the run's own may differ by a second, and by what setting the time gently makes.
_DRIFT_S = 1.0
_DRIFT = 1e-3


def _rules(run: OpenedRun) -> Found:
    """It knows what a run of its status must know."""
    yield from rule_breaches(run.manifest, status=run.status)


def _hashes(run: OpenedRun) -> Found:
    """Every file has the hash that stands here, and none has come or gone since."""
    if run.manifest.files is None:
        return  # a run that could not even read its files back; the rules know which may
    found = {name: digest for name, digest in run.digests.items() if name != MANIFEST}
    for name, what in hash_differences(run.manifest.files, found, by="the manifest"):
        yield Disagreement(name, what)


def _findings(run: OpenedRun) -> Found:
    """Its findings are what the evidence gives; a run of version 1 may have recorded none."""
    if run.manifest.findings is None:
        return
    due, recorded = (
        {(one.code, one.where): one.sentence for one in some} for some in (derive(run), run.manifest.findings)
    )
    for code, where in sorted(due.keys() ^ recorded.keys()):
        is_due = (code, where) in due
        says = "lacks one" if is_due else "has one that no file shows"
        yield f"`findings` {says}: {where}: {(due if is_due else recorded)[code, where]}"


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
    times["compiles"] = 0.0 if says.compiles is None else says.compiles.seconds
    times["elapsed_s"] = says.elapsed_s or 0.0
    for name, seconds in times.items():
        if seconds < 0:
            sentence = f"it is {seconds:.3g} s: a clock was set back meanwhile"
            yield Finding(code="negative time", where=f"{MANIFEST}, {name}", sentence=sentence)


def _memory(run: OpenedRun) -> Iterator[Finding]:
    """A peak of memory that is none, or over what the device has."""
    peak, where = run.manifest.peak_memory_bytes, f"{MANIFEST}, peak_memory_bytes"
    if peak is None:
        return
    if peak <= 0:
        sentence = f"{peak} bytes: no peak memory was reported"
        yield Finding(code="peak memory unknown", where=where, sentence=sentence)
    # a process may hold more than a device has
    device_bytes = plan.device_memory_bytes(run) if run.manifest.peak_memory_of == "device" else None
    if device_bytes is not None and peak > device_bytes:
        sentence = f"{peak:,} bytes, more than the device memory of {device_bytes:,}"
        yield Finding(code="peak memory over the device's", where=where, sentence=sentence)


def _known(*keys: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """What takes those of the keys from a manifest that it knows."""

    def known(says: Mapping[str, Any]) -> dict[str, Any]:
        parts = ((key, *key.split(".")) for key in keys)
        pairs = {key: (says[section] or {}).get(leaf) for key, section, leaf in parts}
        return {key: value for key, value in pairs.items() if value is not None}

    return known


_INPUTS = _known(
    "data.sha256", "data.rows", "eval.sha256", "eval.rows",
    "model.tokenizer_digest", "model.base_weight_hash",
)  # fmt: skip
_OUTCOMES = _known("model.trained_weight_hash", "adapter.frozen_weight_hash_after")

KIND = Kind(
    path=MANIFEST,
    name="manifest",
    holds="what was run, on what, with which result, and the sha256 of every other file",
    when=always,
    also_at=ANY_END,
    is_open=True,
    at_any_end=(_rules, _hashes, _findings),
    sanity=(_clock, _durations, _memory),
    compared=(
        Compared("value", values=_INPUTS),
        Compared("value", values=_OUTCOMES, of_the_end=True),
    ),
)
