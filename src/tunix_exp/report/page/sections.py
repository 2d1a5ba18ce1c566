"""The page of one run, section by section: words and numbers, nothing of their looks."""

from dataclasses import dataclass
from typing import Any

from tunix_exp.evidence.harness import harness_in_words
from tunix_exp.evidence.manifest import HarnessEval, ItemsEval, RunManifest
from tunix_exp.evidence.summary import result_in_words
from tunix_exp.report.page.numbers import duration, figure, percent, points, signed, size
from tunix_exp.report.page.predictions import LABELS, OUTCOMES, outcome
from tunix_exp.report.page.record import Record
from tunix_exp.scoring.paired import GROUPS

Facts = list[tuple[str, str]]


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
    manifest, summary = record.manifest, record.summary
    if manifest.error is not None:
        error = manifest.error
        return Verdict([f"This run {manifest.status} in stage “{error.stage}”: {error.message}"], "failed")
    if summary is not None and summary["comparison"] is not None:
        comparison = summary["comparison"]
        kind = comparison["verdict"] if comparison["verdict"] in ("better", "worse") else "none"
        return Verdict(result_in_words(summary), "worse" if manifest.verdict == "regressed" else kind)
    if summary is not None and manifest.headline is not None:
        _, *against = result_in_words(summary)
        kind = "worse" if manifest.verdict == "regressed" else "plain"
        return Verdict([f"{manifest.headline.text}; nothing was trained.", *against], kind)
    if record.harness is not None:
        comparison = record.harness["comparison"]
        kind = "plain" if comparison is None else comparison["verdict"]
        return Verdict(
            [harness_in_words(record.harness)], kind if kind in ("better", "worse", "plain") else "none"
        )
    if record.metrics:
        first, last = record.metrics[0], record.metrics[-1]
        trained = f"Trained to step {last['step']:,}: loss {figure(first['loss'])} → {figure(last['loss'])}."
        return Verdict([f"{trained} Nothing was evaluated, so nothing is claimed."], "plain")
    if manifest.took_no_step and manifest.resumed_from is not None:
        parent = manifest.resumed_from
        trained = f"Went on from {parent.run_id} after its last step, {parent.step:,}: none was left to take."
        return Verdict([f"{trained} Nothing was evaluated, so nothing is claimed."], "plain")
    if manifest.mode == "preflight" and record.plan is not None:
        says = "fits" if record.plan["fits"] else "does not fit"
        return Verdict(
            [f"Preflight: the step {says} into the device's memory. Nothing was computed."], "plain"
        )
    return Verdict(["This run has not come to a result."], "plain")


def tiles(record: Record) -> list[Tile]:
    """The figures that are looked for first."""
    manifest, found = record.manifest, []
    comparison = None if record.summary is None else record.summary["comparison"]
    if comparison is not None:
        low, high = comparison["interval_95"]
        change = f"{percent(comparison['base_accuracy'])} → {percent(comparison['trained_accuracy'])}"
        found.append(Tile("right answers", change, f"of {comparison['n_items']:,} held-out items"))
        between = f"95 % interval {points(low)} to {points(high)}"
        found.append(Tile("difference", f"{points(comparison['difference'])} points", between))
        loss = comparison["heldout_loss"]
        found.append(
            Tile(
                "held-out loss",
                f"{loss['base_nats']:.3f} → {loss['trained_nats']:.3f}",
                f"{signed(loss['difference_nats'], 3)} nats per token",
            )
        )
    elif record.summary is not None:
        card = record.summary["base"]["scorecard"]
        found.append(Tile("right answers", percent(card["primary_score"]), f"of {card['n_items']:,} items"))
        loss = record.summary["base"]["heldout_loss_nats"]
        found.append(Tile("held-out loss", f"{loss:.3f}", "nats per token"))
    if manifest.tokens_per_s is not None and manifest.steps_done is not None:
        note = f"{manifest.steps_done:,} steps"
        if manifest.times_s is not None:
            note += f" in {duration(manifest.times_s['training'])}"
        found.append(Tile("throughput", f"{figure(manifest.tokens_per_s)} tokens/s", note))
    return found


def base_scores(record: Record) -> list[tuple[str, list[Score]]]:
    """For a run that trains nothing: the headings, and the score of each group below them."""
    if record.summary is None or record.summary["comparison"] is not None:
        return []
    card = record.summary["base"]["scorecard"]
    groups = [("", {"All items": card})]
    groups += [(name.capitalize(), card[f"per_{name}"]) for name in GROUPS]
    return [
        (heading, [_score(name, part) for name, part in parts.items()]) for heading, parts in groups if parts
    ]


def _score(name: str, part: dict[str, Any]) -> Score:
    score = part["primary_score"]
    return Score(name, f"{percent(score)} of {part['n_items']:,}", f"{100 * score:.2f}%")


def comparison_notes(comparison: dict[str, Any]) -> list[str]:
    """How the comparison is to be read."""
    detectable = comparison["smallest_detectable_difference"]
    looks = sum(len(comparison[f"per_{group}"]) for group in GROUPS)
    notes = [
        f"Of {comparison['n_items']:,} items {comparison['flips_to_right']:,} became right and "
        f"{comparison['flips_to_wrong']:,} became wrong.",
        "The same items were asked of both models, so that the comparison is paired: bootstrap intervals of "
        f"{comparison['resamples']:,} draws (seed {comparison['seed']}), and McNemar's exact test.",
    ]
    if looks:
        notes.append(
            f"The p-values of the {looks} groups are corrected together for so many looks (Holm); "
            "each interval is that of its row alone."
        )
    if detectable is not None:
        notes.append(f"So many items show a difference of {100 * detectable:.1f} points four times in five.")
    return notes


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


def what_was_run(manifest: RunManifest) -> Facts:
    """Model, data and code, as the manifest has them."""
    facts = [("run", manifest.run_id), ("mode", str(manifest.mode)), ("begun", manifest.started_at)]
    if manifest.model is not None:
        model = manifest.model
        revision = "" if model.revision is None else f" at {model.revision}"
        facts.append(("model", f"{model.name} ({model.family}), weights {model.weights}{revision}"))
        if model.parameter_count is not None:
            facts.append(("parameters", f"{model.parameter_count:,}"))
        hashes = {"base weights": model.base_weight_hash, "trained weights": model.trained_weight_hash}
        facts += [(name, f"sha256 {value}") for name, value in hashes.items() if value is not None]
    if manifest.data is not None:
        data = manifest.data
        facts.append(("training data", f"{data.name} from {data.source}, {data.rows:,} rows"))
        facts.append(("", f"sha256 {data.sha256}"))
    if isinstance(manifest.eval, ItemsEval):
        items = manifest.eval
        facts.append(("held-out items", f"{items.name} from {items.source}, {items.rows:,} items"))
        facts.append(("", f"sha256 {items.sha256}"))
    if isinstance(manifest.eval, HarnessEval):
        asked = manifest.eval
        tasks = f"{', '.join(asked.tasks)} of lm-eval {asked.lm_eval}"
        facts += [("tasks", f"{tasks}, {asked.rows:,} items"), ("", f"sha256 {asked.sha256}")]
    if manifest.resumed_from is not None:
        parent = manifest.resumed_from
        facts.append(("resumed from", f"{parent.run_id} at step {parent.step:,}"))
    if manifest.replay_of is not None:
        facts.append(("repeats", manifest.replay_of.run_id))
    facts.append(("seed", str(manifest.seed)))
    return facts


def environment(manifest: RunManifest) -> Facts:
    """Where the run took place, and what it took."""
    machine = manifest.machine
    facts = [("system", machine.system), ("processor", f"{machine.processor}, {machine.threads} threads")]
    if manifest.devices is not None:
        names = dict.fromkeys(manifest.devices)
        facts.append(("devices", f"{len(manifest.devices)}: {', '.join(names)}"))
    if manifest.peak_memory_bytes is not None:
        facts.append(("peak memory", size(manifest.peak_memory_bytes)))
    if manifest.compiles is not None:
        compiles = manifest.compiles
        facts.append(("compiled", f"{compiles.count} programs in {duration(compiles.seconds)}"))
    facts += [(name, version) for name, version in (manifest.versions or {}).items()]
    facts += [(name, value) for name, value in (manifest.environment or {}).items()]
    facts += [
        (name.replace("_", " "), value)
        for name, value in manifest.kaggle.model_dump().items()
        if value is not None
    ]
    return facts


def stage_times(manifest: RunManifest) -> list[tuple[str, str, str]]:
    """Each stage, how long it took, and its bar's width."""
    if manifest.times_s is None:
        return []
    longest = max(manifest.times_s.values())
    return [
        (stage, duration(seconds), f"{100 * seconds / longest:.2f}%" if longest else "0%")
        for stage, seconds in manifest.times_s.items()
    ]
