"""The page of one run, section by section: words and numbers, nothing of their looks."""

from typing import NamedTuple

from tunix_exp.evidence.manifest import RunManifest
from tunix_exp.numbers import counted, duration, figure
from tunix_exp.report.comparison import CONFIDENCE
from tunix_exp.report.page.predictions import LABELS, OUTCOMES, outcome
from tunix_exp.report.page.record import Record
from tunix_exp.report.result import loss_row, rows, sentences
from tunix_exp.scoring.paired import GROUPS


class Verdict(NamedTuple):
    """The first sentences, and how they are meant: `better`, `worse`, `none`, `failed` or `plain`."""

    sentences: list[str]
    kind: str


class Score(NamedTuple):
    """The score of a group of items, in words and as the width of a bar."""

    name: str
    text: str
    width: str


class Tile(NamedTuple):
    """One figure in large, what it is, and what belongs to it."""

    name: str
    value: str
    note: str


def verdict(record: Record) -> Verdict:
    """What the run showed, in a sentence, and in another what it showed against its baseline."""
    manifest, result, error = record.manifest, record.result, record.manifest.error
    if error is not None:
        return Verdict([f"This run {manifest.status} in stage “{error.stage}”: {error.message}"], "failed")
    if result is not None:
        comparison = result["comparison"]
        shown = "plain" if comparison is None else comparison["verdict"]
        kind = shown if shown in ("better", "worse", "plain") else "none"
        return Verdict(sentences(result), "worse" if manifest.verdict == "regressed" else kind)
    says = "No result yet."
    if record.metrics:
        first, last = record.metrics[0], record.metrics[-1]
        losses = f"loss {figure(first['loss'])} → {figure(last['loss'])}"
        says = f"Trained to step {last['step']:,}: {losses}. Not evaluated."
    elif manifest.took_no_step and manifest.resumed_from is not None:
        parent = manifest.resumed_from
        step = f"its last step, {parent.step:,}: no step was left"
        says = f"Resumed from {parent.run_id} at {step}. Not evaluated."
    elif manifest.mode == "preflight" and record.plan is not None:
        fits = "fits" if record.plan["fits"] else "does not fit"
        says = f"Preflight: the step {fits} in device memory. No weights were loaded."
    return Verdict([says], "plain")


def tiles(record: Record) -> list[Tile]:
    """The figures that are looked for first."""
    manifest, found = record.manifest, []
    if record.summary is not None:
        accuracy, loss = next(rows(record.summary)), loss_row(record.summary)
        items, base, trained, change, interval, _ = accuracy.cells
        _, base_loss, trained_loss, loss_change, _, _ = loss.cells
        arrow = " → " if trained else ""
        found.append(Tile("exact match", f"{base}{arrow}{trained}", f"on {items} held-out items"))
        if trained:
            found.append(Tile("difference", f"{change} points", f"{CONFIDENCE} {interval}"))
        note = f"{loss_change} nats per token" if trained else "nats per token"
        found.append(Tile("held-out loss", f"{base_loss}{arrow}{trained_loss}", note))
    if manifest.tokens_per_s is not None and manifest.steps_done is not None:
        note = counted(manifest.steps_done, "step")
        if manifest.times_s is not None:
            note += f" in {duration(manifest.times_s['training'])}"
        found.append(Tile("throughput", f"{figure(manifest.tokens_per_s)} tokens/s", note))
    return found


def base_scores(record: Record) -> list[tuple[str, list[Score]]]:
    """For a run that trains nothing: the headings, and the score of each group below them."""
    if record.summary is None or record.summary["comparison"] is not None:
        return []
    groups: dict[str, list[Score]] = {}
    for row in rows(record.summary):
        text = f"{row.cells[1]} of {row.cells[0]}"
        groups.setdefault(row.group.capitalize(), []).append(Score(row.name, text, f"{100 * row.base:.2f}%"))
    return list(groups.items())


def outcome_counts(record: Record) -> list[tuple[str, str, int]]:
    """Each outcome that is possible in this run, its words, and how many items have it."""
    trained = record.trained or [None] * len(record.base)
    found = [outcome(before, after) for before, after in zip(record.base, trained, strict=True)]
    possible = OUTCOMES[:4] if record.trained else OUTCOMES[4:]
    return [(name, LABELS[name], found.count(name)) for name in possible] if found else []


def group_names(record: Record) -> list[tuple[str, list[str]]]:
    """Sections, categories and difficulties of the items, where they have any."""
    names = {group: {getattr(one, group) for one in record.base} - {None} for group in GROUPS}
    return [(group, sorted(some)) for group, some in names.items() if some]


def stage_times(manifest: RunManifest) -> list[tuple[str, str, str]]:
    """Each stage, how long it took, and its bar's width."""
    times_s = manifest.times_s or {}
    longest = max(times_s.values(), default=0) or 1
    return [
        (stage, duration(seconds), f"{100 * seconds / longest:.2f}%") for stage, seconds in times_s.items()
    ]
