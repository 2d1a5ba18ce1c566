"""A run that is verified: nothing is done with any other."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunix_exp.errors import UserError
from tunix_exp.evidence import layout
from tunix_exp.evidence.manifest import RunManifest
from tunix_exp.evidence.strict_json import read_json_object
from tunix_exp.evidence.verify import inspect, runs_at
from tunix_exp.objectives import registry


@dataclass(frozen=True, slots=True)
class VerifiedRun:
    """A run directory that `verify` found nothing in, with its manifest and config."""

    root: Path
    manifest: RunManifest
    config: dict[str, Any]

    def setting(self, key: str) -> Any:
        """The value under a dotted key of its config; `None` where its kind of group has no such key."""
        return at(self.config, key)


def verified_run(path: Path) -> VerifiedRun:
    """The one run at or below `path`; a `UserError` names the files that disagree."""
    root, *others = runs_at(path)
    if others:
        names = ", ".join(run.name for run in (root, *others)[:8])
        raise UserError(
            f"there are {len(others) + 1} runs: {names}",
            where=str(path),
            remedy="name one run directory, such as outputs/NAME/DATE",
        )
    seen = inspect(root)
    if seen.disagreements or seen.manifest is None:
        listed = "\n".join(f"  {one.file}: {one.what}" for one in seen.disagreements)
        raise UserError(
            f"the run is not verified\n{listed}",
            where=str(root),
            remedy="take the run from where it was made, or wait until it has ended",
        )
    file = root / layout.CONFIG
    config = registry.completed(read_json_object(file, file=layout.CONFIG)) if file.exists() else {}
    return VerifiedRun(root, seen.manifest, config)


def at(plain: dict[str, Any], key: str) -> Any:
    """The value under a dotted key; `None` where its kind of group has no such key."""
    value: Any = plain
    for part in key.split("."):
        if part not in value:
            return None
        value = value[part]
    return value


def put(plain: dict[str, Any], key: str, value: Any) -> None:
    """The value stands under the dotted key, whose group is there."""
    *path, leaf = key.split(".")
    for part in path:
        plain = plain[part]
    plain[leaf] = value
