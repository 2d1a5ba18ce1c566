"""How alike two runs are: their numbers to the bit, and what they stood on, from the evidence alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunix_exp.evidence import layout
from tunix_exp.evidence.manifest import RunManifest
from tunix_exp.evidence.metrics import HELDOUT_KEYS, KEYS, read_metrics
from tunix_exp.evidence.strict_json import read_json_object, read_jsonl

# The rest of a line of metrics.jsonl is read off a clock.
_SERIES = ("loss", "lr", "grad_norm", "tokens")
_INPUTS = (
    "data.sha256",
    "data.rows",
    "eval.sha256",
    "eval.rows",
    "model.tokenizer_digest",
    "model.base_weight_hash",
)
_OUTCOMES = ("model.trained_weight_hash", "adapter.frozen_weight_hash_after")
# Where compiled programs are kept, and how memory is taken, changes nothing that is computed.
_NO_MATTER = frozenset({"JAX_COMPILATION_CACHE_DIR", "GLIBC_TUNABLES"})
_ABSENT = "(none)"


@dataclass(frozen=True, slots=True)
class Series:
    """The same figure of both runs, step by step; differences are null where nothing differs."""

    name: str
    steps: int
    missing: int
    differing: int
    first_differing_step: int | None
    largest_absolute: float | None
    largest_relative: float | None

    @property
    def is_same(self) -> bool:
        """Whether every step is there with the same bits."""
        return self.missing == self.differing == 0

    def describe(self) -> str:
        """The series in a line."""
        if self.is_same:
            return f"{self.name}: {self.steps} of {self.steps} steps the same"
        parts = [f"{self.missing} of {self.steps} steps missing"] if self.missing else []
        if self.differing:
            parts.append(
                f"{self.differing} of {self.steps} steps differ, the first is step "
                f"{self.first_differing_step}; at most by {self.largest_absolute:.3g} "
                f"({self.largest_relative:.3g} of its size)"
            )
        return f"{self.name}: {'; '.join(parts)}"


@dataclass(frozen=True, slots=True)
class Answers:
    """What both runs have for each item: predictions, or held-out losses."""

    name: str
    items: int
    missing: int
    changed: int
    changed_ids: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """Whether every item is there with the same line, to the bit."""
        return self.missing == self.changed == 0

    def describe(self) -> str:
        """The items in a line."""
        if self.is_same:
            return f"{self.name}: {self.items} of {self.items} the same"
        parts = [f"{self.missing} of {self.items} missing"] if self.missing else []
        if self.changed:
            ids = ", ".join(self.changed_ids[:3])
            parts.append(f"{self.changed} of {self.items} differ ({ids}{', …' * (self.changed > 3)})")
        return f"{self.name}: {'; '.join(parts)}"


@dataclass(frozen=True, slots=True)
class Pair:
    """One value of the first run and of the second."""

    name: str
    there: Any
    here: Any

    @property
    def is_same(self) -> bool:
        """Whether both are equal."""
        return self.there == self.here

    def describe(self) -> str:
        """The value, or both, in a line."""
        if self.is_same:
            return f"{self.name}: the same, {self.there}"
        return f"{self.name}: {self.there} there, {self.here} here"


@dataclass(frozen=True, slots=True)
class Likeness:
    """What was compared, and the surroundings that differ; `there` is the first run, `here` the second."""

    series: tuple[Series, ...]
    answers: tuple[Answers, ...]
    values: tuple[Pair, ...]
    surroundings: tuple[Pair, ...]

    @property
    def is_identical(self) -> bool:
        """Whether all numbers are the same to the bit, whatever the surroundings."""
        return all(part.is_same for part in (*self.series, *self.answers, *self.values))

    def describe(self) -> list[str]:
        """All of it in lines, what differs first."""
        parts = sorted((*self.series, *self.answers, *self.values), key=lambda part: part.is_same)
        return [part.describe() for part in parts]

    def to_json(self) -> dict[str, Any]:
        """The same, ready for JSON."""
        return {"is_identical": self.is_identical, **asdict(self)}


def compare(
    there: Path, here: Path, *, manifests: tuple[RunManifest, RunManifest], steps: int | None
) -> Likeness:
    """How run `here` repeats run `there`: whole, or up to `steps`. What `there` lacks is not asked of `here`.

    A run that stops after `steps` has neither the held-out loss of that step nor trained predictions.
    """
    first, second = manifests
    is_whole = steps is None
    runs = (there, here)
    metrics = [_rows(run / layout.METRICS, KEYS) for run in runs]
    series = [_series(key, *(_figures(rows, key) for rows in metrics), until=steps) for key in _SERIES]
    held_out = [_figures(_rows(run / layout.HELDOUT, HELDOUT_KEYS), "loss_nats") for run in runs]
    series.append(_series("held-out loss", *held_out, until=None if steps is None else steps - 1))
    items = {
        "base predictions": layout.BASE_PREDICTIONS,
        "base held-out losses": layout.BASE_LOSSES,
        "base answers to the harness": layout.BASE_SAMPLES,
    }
    values = list(_values(first, second, _INPUTS))
    if is_whole:
        items |= {
            "trained predictions": layout.TRAINED_PREDICTIONS,
            "trained held-out losses": layout.TRAINED_LOSSES,
            "trained answers to the harness": layout.TRAINED_SAMPLES,
        }
        values += _values(first, second, _OUTCOMES)
        losses = [_heldout_losses(run / layout.EVAL_SUMMARY) for run in runs]
        values += [_pair(key, *losses) for key in losses[0]]
    answers = [_answers(name, *(run / file for run in runs)) for name, file in items.items()]
    return Likeness(
        tuple(part for part in series if part.steps),
        tuple(part for part in answers if part.items),
        tuple(values),
        tuple(pair for pair in surroundings(first, second) if not pair.is_same),
    )


def surroundings(there: RunManifest, here: RunManifest) -> Iterator[Pair]:
    """What two runs stood on: machine, devices, versions, environment, code; same or not."""
    a, b = there.model_dump(mode="json"), here.model_dump(mode="json")
    for key in ("system", "architecture", "processor", "threads"):
        yield Pair(f"machine.{key}", a["machine"][key], b["machine"][key])
    flags = [set((part["machine"]["cpu_flags"] or "").split()) for part in (a, b)]
    lacking = [" ".join(sorted(one - other)) or _ABSENT for one, other in (flags, flags[::-1])]
    yield Pair("machine.cpu_flags, those that the other lacks", *lacking)
    for key in ("platform", "devices"):
        yield Pair(key, a[key], b[key])
    for section in ("versions", "environment"):
        parts = [part[section] or {} for part in (a, b)]
        for name in sorted((parts[0].keys() | parts[1].keys()) - _NO_MATTER):
            pair = _pair(name, *parts)
            yield Pair(f"{section}.{name}", pair.there, pair.here)
    for key in ("version", "git_commit", "git_dirty", "git_diff_sha256", "lock_sha256"):
        yield Pair(f"code.{key}", a["code"][key], b["code"][key])


def _rows(file: Path, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    return read_metrics(file, file=file.name, keys=keys) if file.exists() else []


def _figures(rows: list[dict[str, Any]], key: str) -> dict[int, float]:
    return {row["step"]: row[key] for row in rows}


def _series(name: str, there: dict[int, float], here: dict[int, float], *, until: int | None) -> Series:
    due = [step for step in there if until is None or step <= until]
    both = [step for step in due if step in here]
    differing = [step for step in both if there[step] != here[step]]
    gaps = [abs(there[step] - here[step]) for step in differing]
    sizes = [max(abs(there[step]), abs(here[step])) for step in differing]
    return Series(
        name,
        steps=len(due),
        missing=len(due) - len(both),
        differing=len(differing),
        first_differing_step=min(differing, default=None),
        largest_absolute=max(gaps, default=None),
        largest_relative=max((gap / size for gap, size in zip(gaps, sizes, strict=True)), default=None),
    )


def _answers(name: str, there: Path, here: Path) -> Answers:
    rows = [{row["id"]: row for row in _items(file)} for file in (there, here)]
    both = [key for key in rows[0] if key in rows[1]]
    changed = tuple(key for key in both if rows[0][key] != rows[1][key])
    return Answers(name, len(rows[0]), len(rows[0]) - len(both), len(changed), changed)


def _items(file: Path) -> list[dict[str, Any]]:
    return read_jsonl(file, file=file.name) if file.exists() else []


def _values(there: RunManifest, here: RunManifest, keys: Sequence[str]) -> Iterator[Pair]:
    """The manifest's values under `keys`, those that the first run knows."""
    a, b = there.model_dump(mode="json"), here.model_dump(mode="json")
    for key in keys:
        section, leaf = key.split(".")
        pair = _pair(leaf, a[section] or {}, b[section] or {})
        if pair.there not in (None, _ABSENT):
            yield Pair(key, pair.there, pair.here)


def _heldout_losses(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    summary = read_json_object(file, file=file.name)
    return {
        f"held-out loss, {which}": summary[which]["heldout_loss_nats"]
        for which in ("base", "trained")
        if summary[which] is not None
    }


def _pair(key: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> Pair:
    return Pair(key, *(part.get(key, _ABSENT) for part in (there, here)))
