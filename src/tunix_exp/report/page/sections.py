"""The page of one run, section by section: words and numbers, nothing of their looks."""

from dataclasses import dataclass

from tunix_exp.evidence.manifest import RunManifest
from tunix_exp.numbers import counted, duration, figure
from tunix_exp.report.comparison import CONFIDENCE
from tunix_exp.report.page.predictions import LABELS, OUTCOMES, outcome
from tunix_exp.report.page.record import Record
from tunix_exp.report.result import loss_row, rows, sentences
from tunix_exp.scoring.paired import GROUPS


@dataclass(frozen=True, slots=True)
class Verdict:
    """The first sentences, and how they are meant: `better`, `worse`, `none`, `failed` or `plain`."""

    sentences: list[str]
    kind: str


@dataclass(frozen=True, slots=True)
class Score:
    """The score of a group of items, in words and as the width of a bar."""

    name: str
    text: str
    width: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure in large, what it is, and what belongs to it."""

    name: str
    value: str
    note: str


def verdict(record: Record) -> Verdict:
    """What the run showed, in a sentence, and in another what it showed against its baseline."""
    manifest, result = record.manifest, record.result
    if manifest.error is not None:
        error = manifest.error
        return Verdict([f"This run {manifest.status} in stage “{error.stage}”: {error.message}"], "failed")
    if result is not None:
        comparison = result["comparison"]
        shown = "plain" if comparison is None else comparison["verdict"]
        kind = shown if shown in ("better", "worse", "plain") else "none"
        return Verdict(sentences(result), "worse" if manifest.verdict == "regressed" else kind)
    if record.metrics:
        first, last = record.metrics[0], record.metrics[-1]
        trained = f"Trained to step {last['step']:,}: loss {figure(first['loss'])} → {figure(last['loss'])}."
        return Verdict([f"{trained} Not evaluated."], "plain")
    if manifest.took_no_step and manifest.resumed_from is not None:
        parent = manifest.resumed_from
        trained = f"Resumed from {parent.run_id} at its last step, {parent.step:,}: no step was left."
        return Verdict([f"{trained} Not evaluated."], "plain")
    if manifest.mode == "preflight" and record.plan is not None:
        says = "fits" if record.plan["fits"] else "does not fit"
        return Verdict([f"Preflight: the step {says} in device memory. No weights were loaded."], "plain")
    return Verdict(["No result yet."], "plain")


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
    found = []
    for group in GROUPS:
        names = {getattr(one, group) for one in record.base} - {None}
        if names:
            found.append((group, sorted(names)))
    return found


def stage_times(manifest: RunManifest) -> list[tuple[str, str, str]]:
    """Each stage, how long it took, and its bar's width."""
    if manifest.times_s is None:
        return []
    longest = max(manifest.times_s.values())
    return [
        (stage, duration(seconds), f"{100 * seconds / longest:.2f}%" if longest else "0%")
        for stage, seconds in manifest.times_s.items()
    ]
