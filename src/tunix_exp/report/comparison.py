"""A comparison of two models in words and rows, whatever was compared."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tunix_exp.numbers import interval, interval_in_points, percent, points, probability, signed
from tunix_exp.scoring.paired import GROUPS, NO_EVIDENCE

CONFIDENCE = "95 % CI"
ALL = "all items"
COLUMNS = ("items", "base", "trained", "change", CONFIDENCE, "p")

Summary = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """Base against trained, for all items or a group; without a trained model the base model alone."""

    group: str
    name: str
    n_items: int
    base: float
    trained: float | None = None
    difference: float | None = None
    ends: tuple[float, float] | None = None
    p: float | None = None
    is_loss: bool = False

    @property
    def label(self) -> str:
        """The row's name where its group has no heading."""
        return f"{self.group} {self.name}".strip()

    @property
    def cells(self) -> tuple[str, ...]:
        """Items, base, trained, change, interval, p: as text, empty where there is none."""
        value = (lambda nats: f"{nats:.4f}") if self.is_loss else percent
        change = (lambda nats: signed(nats, 3)) if self.is_loss else points
        bounds = (lambda ends: interval(ends, 3)) if self.is_loss else interval_in_points
        base, n_items = value(self.base), f"{self.n_items:,}"
        if self.trained is None or self.difference is None:
            return (n_items, base, "", "", "", "")
        p = "" if self.p is None else probability(self.p)
        ends = "too few items" if self.ends is None else bounds(self.ends)
        return (n_items, base, value(self.trained), change(self.difference), ends, p)


def comparison_sentence(
    comparison: Summary, *, subject: str = "The trained model", measure: str = "exact match"
) -> str:
    """What a comparison shows of `subject`, and where it shows nothing, what it could have shown."""
    n_items, p = comparison["n_items"], probability(comparison["mcnemar_p"])
    p = p.replace("<", "< ") if p.startswith("<") else f"= {p}"
    found = (
        f"{percent(comparison['base_accuracy'])} → {percent(comparison['trained_accuracy'])} {measure} on "
        f"{n_items:,} items, {points(comparison['difference'])} points "
        f"({CONFIDENCE} {interval_in_points(comparison['interval_95'])}, exact McNemar p "
        f"{p}); {comparison['flips_to_right']:,} wrong → right, "
        f"{comparison['flips_to_wrong']:,} right → wrong."
    )
    if comparison["verdict"] != NO_EVIDENCE:
        return f"{subject} is {comparison['verdict']}: {found}"
    return f"No evidence of a difference: {found} {detectable(comparison)}"


def detectable(comparison: Summary) -> str:
    """What the items could have shown."""
    smallest, n_items = comparison["smallest_detectable_difference"], comparison["n_items"]
    if smallest is None:
        return f"With n = {n_items:,} no difference can be significant."
    size = f"{100 * smallest:.1f} points (n = {n_items:,})"
    return f"Minimum detectable difference at 80 % power: {size}."


def certainty(comparison: Summary) -> str:
    """The difference, and its interval, or that there is no evidence of one."""
    is_shown = comparison["verdict"] != NO_EVIDENCE
    said = f"{CONFIDENCE} {interval_in_points(comparison['interval_95'])}" if is_shown else NO_EVIDENCE
    return f"{points(comparison['difference'])} points, {said}"


def how_computed(comparison: Summary) -> str:
    """The statistics behind the table, in a sentence."""
    groups = sum(len(comparison[f"per_{group}"]) for group in GROUPS)
    corrected = f"; Holm correction over the {groups} groups' p-values, CIs unadjusted" if groups else ""
    return (
        f"Paired on the same items: bootstrap CIs ({comparison['resamples']:,} resamples, seed "
        f"{comparison['seed']}), exact McNemar tests{corrected}."
    )


def notes(comparison: Summary) -> list[str]:
    """How the comparison is to be read."""
    return [how_computed(comparison), detectable(comparison)]


def comparison_rows(comparison: Summary) -> Iterator[Row]:
    """The same of a comparison, with differences and p-values corrected for the number of groups."""
    yield accuracy_row("", ALL, comparison, comparison["mcnemar_p"])
    for group in GROUPS:
        for name, part in comparison[f"per_{group}"].items():
            yield accuracy_row(group, name, part, part["p_corrected"])


def accuracy_row(group: str, name: str, part: Summary, p: float) -> Row:
    """A row of fractions right."""
    low, high = part["interval_95"]
    before, after = part["base_accuracy"], part["trained_accuracy"]
    return Row(group, name, part["n_items"], before, after, part["difference"], (low, high), p)
