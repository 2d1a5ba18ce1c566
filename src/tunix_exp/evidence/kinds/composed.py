"""`.hydra/`: the config as Hydra composed it, what the command overrode, and the defaults."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from tunix_exp.evidence.kinds import config
from tunix_exp.evidence.kinds.kind import Disagreement, Found, Kind, always
from tunix_exp.evidence.opened import OpenedRun, lookup
from tunix_exp.evidence.strict_json import BrokenFile, parse_json

FOLDER = ".hydra/"
CONFIG, OVERRIDES, HYDRA, DEFAULTS = (
    FOLDER + name for name in ("config.yaml", "overrides.yaml", "hydra.yaml", "defaults.json")
)

_ALONE, _SWEEP = "RUN", "MULTIRUN"
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")


def overrides_of(root: Path) -> tuple[str, ...]:
    """The words that the command of the run at `root` changed the config with, as Hydra recorded them."""
    import yaml

    # Hydra quotes what YAML would take for something else
    try:
        words = yaml.safe_load((root / OVERRIDES).read_text(encoding="utf-8"))
    except (FileNotFoundError, yaml.YAMLError, UnicodeDecodeError):
        return ()
    return tuple(" ".join(str(word).split()) for word in words) if isinstance(words, list) else ()


def sweep_of(root: Path) -> Path | None:
    """The directory of the sweep of which the run at `root` is a job, as Hydra recorded it."""
    import yaml

    try:
        said = yaml.safe_load((root / HYDRA).read_text(encoding="utf-8"))["hydra"]
    except FileNotFoundError:
        return None  # no command of Hydra's began it
    if said["mode"] != _SWEEP:
        return None
    return root.resolve().parents[len(PurePath(said["sweep"]["subdir"]).parts) - 1]


def is_job(run: OpenedRun) -> bool:
    """Whether the run was begun as a job of a sweep; a replay of one was not."""
    return not run.facts.is_replay and lookup(_yaml(run, HYDRA, dict), "hydra.mode", HYDRA) == _SWEEP


def _composed(run: OpenedRun) -> Found:
    """Hydra composed the config that ran."""
    composed, resolved = config.flatten(_yaml(run, CONFIG, dict)), config.flatten(run.config)
    for key in sorted(composed.keys() ^ resolved.keys()):
        where = CONFIG if key in resolved else config.KIND.path
        yield Disagreement(CONFIG, f"and config.json: `{key}` is missing in {where}")
    for key in sorted(composed.keys() & resolved.keys()):
        value = _resolved(composed[key], resolved)
        if value != resolved[key] and not _is_open(value):
            yield Disagreement(CONFIG, f"`{key}` is {value!r}, but config.json says {resolved[key]!r}")


def _overrides(run: OpenedRun) -> Found:
    """What the command overrode is what Hydra says it overrode, and stands in the command."""
    if run.facts.is_replay:
        return  # a replay takes its config from another run, and no override from its command
    words, hydra = _yaml(run, OVERRIDES, list), _yaml(run, HYDRA, dict)
    said = lookup(hydra, "hydra.overrides.task", HYDRA)
    if words != said:
        yield Disagreement(OVERRIDES, f"are {words}, but {HYDRA} says {said}")
    # a sweep's command gives several values at once
    for word in words if lookup(hydra, "hydra.mode", HYDRA) == _ALONE else []:
        if word not in run.manifest.command:
            yield Disagreement(OVERRIDES, f"`{word}` is not in `command` of the manifest")


def _yaml(run: OpenedRun, name: str, kind: type) -> Any:
    import yaml

    text = run.text(name)
    try:
        # a replay writes JSON, in which YAML takes 1e-05 for a text
        value = parse_json(text, file=name) if text.startswith("{") else yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BrokenFile(name, f"is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, kind):
        raise BrokenFile(name, f"holds {type(value).__name__}, not {kind.__name__}")
    return value


def _resolved(value: Any, resolved: Mapping[str, Any]) -> Any:
    """The value with `${key}` replaced by what stands under the key."""
    if not isinstance(value, str):
        return value
    whole = _REFERENCE.fullmatch(value)
    if whole is not None and whole[1] in resolved:
        return resolved[whole[1]]
    return _REFERENCE.sub(lambda m: str(resolved[m[1]]) if m[1] in resolved else m[0], value)


def _is_open(value: Any) -> bool:
    """Whether only Hydra can tell the value: a resolver such as `${now:…}`."""
    return isinstance(value, str) and "${" in value


KIND = Kind(
    path=FOLDER,
    name="composed config",
    holds="the config as Hydra composed it, and the overrides",
    when=always,
    parts=("config.yaml", "overrides.yaml", "hydra.yaml", "defaults.json"),
    integrity=(_composed, _overrides),
)
