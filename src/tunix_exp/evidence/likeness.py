"""How alike two runs are: their numbers to the bit, and what they stood on, from the evidence alone."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunix_exp.evidence.kinds import config
from tunix_exp.evidence.kinds.read import object_if_any, read_lines
from tunix_exp.evidence.kinds.registry import kinds_of
from tunix_exp.evidence.manifest import RunManifest, read_manifest

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


@dataclass(frozen=True, slots=True)
class Answers:
    """What both runs have for each item: predictions, or held-out losses."""

    name: str
    items: int
    missing: int
    changed: int
    changed_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """One value of the first run and of the second."""

    name: str
    there: Any
    here: Any


Part = Series | Answers | Pair


def is_same(part: Part) -> bool:
    """Whether both runs have it to the bit, and the second lacks nothing."""
    match part:
        case Pair(_, there, here):
            return there == here
        case Series(missing=missing, differing=n) | Answers(missing=missing, changed=n):
            return missing == n == 0


def described(part: Part) -> str:
    """The part in a line."""
    match part:
        case Pair(name, there, here):
            told = f"the same, {there}" if there == here else f"original {there}, replay {here}"
            return f"{name}: {told}"
        case Series(name, count, missing, differing):
            noun = " steps"
            sizes = f"{part.largest_absolute or 0:.3g} ({part.largest_relative or 0:.3g} of its size)"
            how = f", the first is step {part.first_differing_step}; at most by {sizes}"
        case Answers(name, count, missing, differing, ids):
            noun, how = "", f" ({', '.join([*ids[:3], *['…'] * (differing > 3)])})"
    if is_same(part):
        return f"{name}: {count} of {count}{noun} the same"
    parts = [f"{missing} of {count}{noun} missing"] * bool(missing)
    parts += [f"{differing} of {count}{noun} differ{how}"] * bool(differing)
    return f"{name}: {'; '.join(parts)}"


@dataclass(frozen=True, slots=True)
class Likeness:
    """What was compared, and the surroundings that differ; `there` is the first run, `here` the second."""

    series: tuple[Series, ...]
    answers: tuple[Answers, ...]
    values: tuple[Pair, ...]
    surroundings: tuple[Pair, ...]

    @property
    def parts(self) -> list[Part]:
        """All that was compared, what differs first."""
        return sorted((*self.series, *self.answers, *self.values), key=is_same)

    @property
    def is_identical(self) -> bool:
        """Whether all numbers are the same to the bit, whatever the surroundings."""
        return all(map(is_same, self.parts))

    def describe(self) -> list[str]:
        """All of it in lines."""
        return list(map(described, self.parts))

    def to_json(self) -> dict[str, Any]:
        """The same, ready for JSON."""
        return {"is_identical": self.is_identical, **asdict(self)}


def compare(there: Path, here: Path, *, steps: int | None) -> Likeness:
    """How run `here` repeats run `there`: whole, or up to `steps`. What `there` lacks is not asked of `here`.

    What is compared, each kind of evidence says.
    """
    runs = (there, here)
    series: list[Series] = []
    answers: list[Answers] = []
    values: list[Pair] = []
    kinds = kinds_of(object_if_any(config.KIND, there) or {})
    for kind, what in [(one, what) for one in kinds for what in one.compared]:
        if steps is not None and what.of_the_end:
            continue
        if what.by == "value":
            objects = [object_if_any(kind, run) for run in runs]
            found = [{} if one is None else what.values(one) for one in objects]
            values += (_pair(key, *found) for key in found[0])
            continue
        lines = [read_lines(kind, run) for run in runs]
        if what.by == "id":
            answers.append(_answers(kind.name, *({row["id"]: row for row in rows} for rows in lines)))
            continue
        until = None if steps is None else steps - what.lag
        keys = dict.fromkeys(key for row in lines[0] for key in row)
        for key in [key for key in keys if key != "step" and key not in what.leaves_out]:
            figures = ({row["step"]: row[key] for row in rows if key in row} for rows in lines)
            series.append(_series(what.names.get(key, key), *figures, until=until))
    stood_on = map(read_manifest, runs)
    return Likeness(
        tuple(part for part in series if part.steps),
        tuple(part for part in answers if part.items),
        tuple(values),
        tuple(pair for pair in surroundings(*stood_on) if not is_same(pair)),
    )


def surroundings(there: RunManifest, here: RunManifest) -> Iterator[Pair]:
    """What two runs stood on: machine, devices, versions, environment, code; same or not."""
    a, b = (_stood_on(one) for one in (there, here))
    flags = [set((one.machine.cpu_flags or "").split()) for one in (there, here)]
    lacking = [" ".join(sorted(one - other)) or _ABSENT for one, other in (flags, flags[::-1])]
    yield Pair("machine.cpu_flags, those that the other lacks", *lacking)
    yield from (_pair(name, a, b) for name in sorted(a | b))


def _stood_on(run: RunManifest) -> dict[str, Any]:
    sections = {
        "machine.": run.machine.model_dump(exclude={"cpu_flags"}),
        "": {"platform": run.platform, "devices": run.devices and list(run.devices)},
        "versions.": run.versions or {},
        "environment.": {key: one for key, one in (run.environment or {}).items() if key not in _NO_MATTER},
        "code.": run.code.model_dump(),
    }
    return {f"{section}{key}": one for section, part in sections.items() for key, one in part.items()}


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


def _answers(name: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> Answers:
    both = [key for key in there if key in here]
    changed = tuple(key for key in both if not _has_all_of(there[key], here[key]))
    return Answers(name, len(there), len(there) - len(both), len(changed), changed)


def _has_all_of(there: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    """Whether a line has all that the first run's has, whatever later versions added to it."""
    return here.keys() >= there.keys() and all(here[key] == value for key, value in there.items())


def _pair(key: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> Pair:
    return Pair(key, *(part.get(key, _ABSENT) for part in (there, here)))
