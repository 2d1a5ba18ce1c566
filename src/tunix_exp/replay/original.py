"""The run that is repeated: verified before anything of it is believed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunix_exp.config import Plain
from tunix_exp.errors import UserError
from tunix_exp.evidence import layout
from tunix_exp.evidence.manifest import RunManifest, parse_manifest
from tunix_exp.evidence.metrics import KEYS, read_metrics
from tunix_exp.evidence.strict_json import read_json_object, read_text
from tunix_exp.evidence.verify import runs_below, verify


@dataclass(frozen=True, slots=True)
class Original:
    """A run whose evidence holds."""

    root: Path
    manifest: RunManifest
    config: Plain

    def setting(self, key: str) -> Any:
        """The value under a dotted key of its config; `None` where its kind of group has no such key."""
        return at(self.config, key)


def open_original(path: Path) -> Original:
    """The one run at or below `path`, verified; a `UserError` when it is tampered with or says too little."""
    runs = list(runs_below(path)) if path.is_dir() else []
    if len(runs) != 1:
        several = f"{len(runs)} runs: {', '.join(run.name for run in runs[:8])}"
        raise UserError(
            f"there {'is no run' if not runs else f'are {several}'}",
            where=str(path),
            remedy="name one run directory, such as outputs/NAME/DATE",
        )
    root = runs[0]
    found = verify(root)
    if found:
        listed = "\n".join(f"  {one.file}: {one.what}" for one in found)
        raise UserError(
            f"the evidence does not hold: it is tampered with, damaged or not finished\n{listed}",
            where=str(root),
            remedy="take the run from where it was made; only what verifies can be repeated",
        )
    manifest = parse_manifest(read_text(root / layout.MANIFEST, file=layout.MANIFEST))
    if manifest.status == "failed" or manifest.mode == "preflight":
        what = "failed" if manifest.status == "failed" else "was a preflight"
        raise UserError(
            f"the run {what}: there are no numbers to compare with",
            where=str(root),
            remedy="its command stands in run_manifest.json; to see it again, type that",
        )
    return Original(root, manifest, read_json_object(root / layout.CONFIG, file=layout.CONFIG))


def prefix(original: Original, asked: int | None) -> int | None:
    """The step after which the replay stops; `None` when it runs to its end."""
    manifest = original.manifest
    is_whole = manifest.status == "completed"
    if is_whole and asked is None:
        return None
    file = original.root / layout.METRICS
    rows = read_metrics(file, file=layout.METRICS, keys=KEYS) if file.exists() else []
    if not rows:
        raise UserError(
            "the run took no training step",
            where=str(original.root),
            remedy="leave --steps away" if is_whole else "its command stands in run_manifest.json: type that",
        )
    before = 0 if manifest.resumed_from is None else manifest.resumed_from.step
    last: int = rows[-1]["step"]
    step = last if asked is None else asked
    if not before < step <= last:
        raise UserError(
            f"the run has the steps {before + 1} to {last}",
            where=f"--steps {asked}",
            remedy="name one of them, or leave --steps away",
        )
    reaches_end = is_whole or last == original.setting("training.steps")
    return None if step == last and reaches_end else step


def at(plain: Plain, key: str) -> Any:
    """The value under a dotted key; `None` where its kind of group has no such key."""
    value: Any = plain
    for part in key.split("."):
        if part not in value:
            return None
        value = value[part]
    return value
