"""The run again, in a new directory, and what the comparison shows."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tunix_exp import config as configs
from tunix_exp.config import Plain
from tunix_exp.errors import UserError
from tunix_exp.evidence import layout
from tunix_exp.evidence.kinds import composed, folders
from tunix_exp.evidence.kinds import config as config_kind
from tunix_exp.evidence.kinds import replay as comparison
from tunix_exp.evidence.likeness import Likeness, Pair, compare, described, is_same
from tunix_exp.evidence.pack import opened, packed_inputs, refuse_other_contents
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.evidence.sections import ReplayOf
from tunix_exp.evidence.strict_json import json_text, read_text
from tunix_exp.evidence.verified import VerifiedRun
from tunix_exp.exits import COMPLETED, DIFFERS, INTERRUPTED
from tunix_exp.launch import launch
from tunix_exp.replay.consent import drop_cache, refuse_unasked
from tunix_exp.replay.history import in_todays_keys
from tunix_exp.replay.inputs import refuse_invalid, refuse_other_inputs, replayed_config
from tunix_exp.replay.original import open_original, prefix


@dataclass(slots=True)
class Replay:
    """A run that repeats `original`, for `launch`; `likeness` is there once it has settled."""

    original: VerifiedRun
    record: ReplayOf
    files: Mapping[str, str]
    changed: tuple[Pair, ...]
    likeness: Likeness | None = field(default=None, init=False)

    def settle(self, evidence: RunDirectory) -> None:
        """`replay.json` says how the two runs compare."""
        self.likeness = compare(self.original.root, evidence.root, steps=self.record.steps)
        says = {"replay_of": self.record.model_dump(mode="json")}
        says["config_changed"] = {pair.name: [pair.there, pair.here] for pair in self.changed}
        evidence.write(comparison.KIND, says | self.likeness.to_json())
        for line in self.likeness.describe():
            evidence.log.say(f"replay: {line}")


def replay(
    path: Path,
    *,
    to: Path | None,
    steps: int | None,
    places: Mapping[str, str],
    command: list[str],
    allow_flags: bool = False,
    allow_paths: bool = False,
) -> int:
    """Run again the run at `path`, a directory or an archive, and say how the two compare.

    What the run chose of flags and paths is taken where `consent` says so, or the user's word allows it.

    Returns 0 when every number is the same to the bit, `DIFFERS` when not, and what `launch` returns when the
    replay itself fails or is interrupted.
    """
    with opened(path) as folder:
        refuse_other_contents(folder)
        original = open_original(folder)
        places = {key: str(place) for key, place in packed_inputs(original.root).items()} | dict(places)
        steps = prefix(original, steps)
        recorded = in_todays_keys(original.config, where=str(original.root / config_kind.KIND.path))
        plain = replayed_config(recorded, original, steps=steps, places=places)
        refuse_unasked(original, plain, told=places.keys(), flags=allow_flags, paths=allow_paths)
        refuse_invalid(original, plain)
        drop_cache(plain, paths=allow_paths)
        refuse_other_inputs(original, plain)
        target = _default_target(plain["name"]) if to is None else to
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UserError(
                "there is something already", where=str(target), remedy="name an empty place: --to DIR"
            )
        again = _replay(original, recorded, plain, steps)
        status = launch(plain, target, command=command, replay=again)
    is_prefix = steps is not None and status == INTERRUPTED and _reached(target) == steps
    if again.likeness is None or (status != COMPLETED and not is_prefix):
        return status
    print("\n".join(verdict(again, target)))
    return COMPLETED if again.likeness.is_identical else DIFFERS


def verdict(again: Replay, target: Path) -> list[str]:
    """What a replay has shown, in lines: whether the numbers are the same, and what was not the same."""
    assert again.likeness is not None
    likeness, steps = again.likeness, again.record.steps
    extent = "" if steps is None else f" up to step {steps}"
    name = again.original.manifest.run_id
    found = likeness.surroundings
    if likeness.is_identical:
        lines = [f"identical: the replay has the numbers of {name}{extent} to the bit"]
    else:
        differing = [f"  {described(part)}" for part in likeness.parts if not is_same(part)]
        lines = [f"different: the replay has other numbers than {name}{extent}", *differing]
    if found:
        lines += ["the environments differ:", *(f"  {described(pair)}" for pair in found)]
    elif likeness.is_identical:
        lines.append("same kind of machine, same versions, same environment, same code")
    else:
        lines.append("although machine, versions, environment and code are recorded as the same")
    return [*lines, f"the replay and its comparison: {target / comparison.KIND.path}"]


def _reached(target: Path) -> int | None:
    """The step at which an interrupted run saved its state."""
    return max(folders.steps_saved(target), default=None)


def _default_target(name: str) -> Path:
    return Path("outputs") / f"{name}-replay" / f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"


def _replay(original: VerifiedRun, recorded: Plain, plain: Plain, steps: int | None) -> Replay:
    before, after = dict(configs.leaves(recorded)), dict(configs.leaves(plain))
    changed = tuple(Pair(key, before[key], after[key]) for key in after if before[key] != after[key])
    record = ReplayOf(
        run_id=original.manifest.run_id,
        manifest_sha256=layout.file_digest(original.root / layout.MANIFEST),
        steps=steps,
    )
    return Replay(original, record, _composed(original, plain, changed), changed)


def _composed(original: VerifiedRun, plain: Plain, changed: tuple[Pair, ...]) -> dict[str, str]:
    """`.hydra/` as Hydra left it for the run, with the replay's own config and what it overrode."""
    config, overrides, *others = composed.KIND.files
    lines = [] if (was := read_text(original.root / overrides, file=overrides).strip()) == "[]" else [was]
    lines += [f"- {_word(f'{pair.name}={_value(pair.here)}')}" for pair in changed]
    return {
        config: json_text(plain, file=config),  # which is YAML too
        overrides: "\n".join(lines or ["[]"]) + "\n",
        **{name: read_text(original.root / name, file=name) for name in others},
    }


def _value(value: object) -> str:
    return "null" if value is None else str(value)


def _word(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z][\w./@:#=+-]*", text) else json.dumps(text, ensure_ascii=False)
