"""That what was run is named alike everywhere: manifest, config, Hydra's files, machine, data."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tunix_exp.evidence import layout
from tunix_exp.evidence.board import flatten, hyperparameters
from tunix_exp.evidence.manifest import RunManifest, config_hash
from tunix_exp.evidence.opened import Disagreement, OpenedRun, bundled, lookup
from tunix_exp.evidence.strict_json import BrokenFile, canonical_json, parse_json
from tunix_exp.evidence.surroundings import variable_line

COMPOSED, OVERRIDES, HYDRA, _ = layout.COMPOSED
ENVIRONMENT = "env_info.txt"
DEVICE_CHECK = "device_check.txt"

# A resolved config and the manifest name these twice, and must name the same.
_NAMED_TWICE = (
    "name",
    "seed",
    "mode.name",
    "model.name",
    "model.family",
    "model.weights",
    "adapter.name",
    "adapter.weights",
    "adapter.rank",
    "adapter.alpha",
    "adapter.scaling",
    "adapter.dropout",
    "adapter.merge_for_eval",
    "data.name",
    "data.source",
    "eval.kind",
    "eval.name",
    "eval.source",
    "eval.tasks",
)

# The data card's keys, and the manifest's for the same fact.
_CARD_AND_MANIFEST = (
    ("train.name", "data.name"),
    ("train.source", "data.source"),
    ("train.sha256", "data.sha256"),
    ("statistics.rows_kept", "data.rows"),
    ("tokenizer.digest", "model.tokenizer_digest"),
    ("eval.name", "eval.name"),
    ("eval.source", "eval.source"),
    ("eval.sha256", "eval.sha256"),
    ("eval.rows_read", "eval.rows"),
)
# And the config's.
_CARD_AND_CONFIG = (
    ("fields", "data.fields"),
    ("template", "data.template"),
    ("limits.max_tokens", "data.max_tokens"),
    ("limits.too_long", "data.too_long"),
    ("overlap.allowed", "data.allow_eval_overlap"),
    ("tokenizer.reference", "model.tokenizer"),
)

_REFERENCE = re.compile(r"\$\{([\w.]+)\}")


def config(run: OpenedRun) -> Iterator[Disagreement]:
    """`config.json` is the config whose hash the manifest has."""
    if config_hash(run.config) != run.manifest.config_hash:
        yield Disagreement(layout.CONFIG, "is not the config of `config_hash` in the manifest")


def named_twice(run: OpenedRun) -> Iterator[Disagreement]:
    """The manifest names what the config names."""
    says = run.manifest.model_dump(mode="json")
    says["mode"] = {"name": says["mode"]}
    says["adapter"] = says["adapter"] or {"name": "none"}
    for key in _NAMED_TWICE:
        section, _, leaf = key.partition(".")
        if leaf and (says[section] is None or leaf not in says[section]):
            continue  # a section that this mode or kind of eval does not have
        recorded = says[section][leaf] if leaf else says[section]
        if not _is_same(recorded, run.setting(key)):
            yield Disagreement(
                layout.MANIFEST, f"`{key}` is {recorded!r}, but config.json says {run.setting(key)!r}"
            )


def _is_same(recorded: Any, setting: Any) -> bool:
    """Whether both are equal; as a float, an integer of many digits is the float next to it."""
    is_rounded = type(recorded) is float and type(setting) is int
    return recorded == (float(setting) if is_rounded else setting)


def exported(run: OpenedRun) -> Iterator[Disagreement]:
    """There is an export in every form that was asked for, and in no other."""
    asked = run.setting("training.export") if run.manifest.mode != "preflight" else []
    for form, names in layout.EXPORTED.items():
        for name in sorted(names):
            if form in asked and not run.has(name):
                yield Disagreement(name, f"is missing: config.json has training.export={asked}")
        if form not in asked and run.has(f"{layout.EXPORT}{form}/"):
            yield Disagreement(f"{layout.EXPORT}{form}/", f"config.json has training.export={asked}")


def composed(run: OpenedRun) -> Iterator[Disagreement]:
    """Hydra composed the config that ran."""
    composed, resolved = flatten(_yaml(run, COMPOSED, dict)), flatten(run.config)
    for key in sorted(composed.keys() ^ resolved.keys()):
        where = COMPOSED if key in resolved else layout.CONFIG
        yield Disagreement(COMPOSED, f"and config.json: `{key}` is missing in {where}")
    for key in sorted(composed.keys() & resolved.keys()):
        value = _resolved(composed[key], resolved)
        if value != resolved[key] and not _is_open(value):
            yield Disagreement(COMPOSED, f"`{key}` is {value!r}, but config.json says {resolved[key]!r}")


def overrides(run: OpenedRun) -> Iterator[Disagreement]:
    """What the command overrode is what Hydra says it overrode, and stands in the command."""
    if run.manifest.replay_of is not None:
        return  # a replay takes its config from another run, and no override from its command
    words = _yaml(run, OVERRIDES, list)
    said = lookup(_yaml(run, HYDRA, dict), "hydra.overrides.task", HYDRA)
    if words != said:
        yield Disagreement(OVERRIDES, f"are {words}, but {HYDRA} says {said}")
    # a sweep's command spells several values at once
    for word in words if lookup(_yaml(run, HYDRA, dict), "hydra.mode", HYDRA) == "RUN" else []:
        if word not in run.manifest.command:
            yield Disagreement(OVERRIDES, f"`{word}` is not in `command` of the manifest")


def hparams(run: OpenedRun) -> Iterator[Disagreement]:
    """The board's hyperparameters are the config's leaves."""
    due, shown = hyperparameters(run.config), run.board.hyperparameters
    for key in sorted(due.keys() | shown.keys()):
        if key not in due or key not in shown or due[key] != shown[key]:
            yield Disagreement(layout.TENSORBOARD, f"the hyperparameter `{key}` is not config.json's")


def machine(run: OpenedRun) -> Iterator[Disagreement]:
    """`env_info.txt` and `device_check.txt` name the versions, variables and devices of the manifest."""
    says = run.manifest
    exact = {line.strip() for line in run.text(ENVIRONMENT).split("\n")}
    for key, value in (says.environment or {}).items():
        if (line := variable_line(key, value)) not in exact:
            yield Disagreement(ENVIRONMENT, f"does not say `{line:.200}`, as the manifest does")
    lines = {_plain(line) for line in exact}
    for line in [f"{name}=={version}" for name, version in (says.versions or {}).items() if name != "python"]:
        if _plain(line) not in lines:
            yield Disagreement(ENVIRONMENT, f"does not say `{line}`, as the manifest does")
    for first, last in _first_lines(says):
        if not any(line.startswith(_plain(first)) and line.endswith(_plain(last)) for line in lines):
            yield Disagreement(ENVIRONMENT, f"does not say `{first}` … `{last}`, as the manifest does")
    checked = run.text(DEVICE_CHECK)
    for device in run.manifest.devices or ():
        if device not in checked and "not here" not in device:
            yield Disagreement(DEVICE_CHECK, f"does not name the device `{device}` of the manifest")


def data_card(run: OpenedRun) -> Iterator[Disagreement]:
    """The card has the manifest's facts and the config's settings."""
    card, says = run.json(layout.DATA_CARD), run.manifest.model_dump(mode="json")
    for card_key, key in _CARD_AND_MANIFEST:
        section, _, leaf = key.partition(".")
        if says[section] is None or leaf not in says[section]:
            continue  # nothing was evaluated, and the rules speak of data
        if section == "eval" and says["eval"]["kind"] != "items":
            continue  # the harness's documents are not rendered by the card's template
        yield from _differs(card, card_key, f"`{key}` of the manifest", says[section][leaf])
    for card_key, key in _CARD_AND_CONFIG:
        yield from _differs(card, card_key, f"{key} of config.json", run.setting(key))
    if run.setting("data.max_tokens") is None:
        row_tokens = lookup(card, "limits.row_tokens", layout.DATA_CARD)
        longest = lookup(card, "statistics.total_tokens.max", layout.DATA_CARD)
        if not longest <= row_tokens <= run.setting("model.num_positions"):
            what = f"rows of {row_tokens} tokens do not follow from {longest} of an example and the positions"
            yield Disagreement(layout.DATA_CARD, what)


def sources(run: OpenedRun) -> Iterator[Disagreement]:
    """The sets that are shipped with the package have the rows and the hash of the card."""
    card = run.json(layout.DATA_CARD)
    for part in ("train", "eval"):
        facts = lookup(card, part, layout.DATA_CARD)
        if facts is None:
            continue
        content = bundled(lookup(facts, "source", layout.DATA_CARD))
        if content is None:
            continue  # a file of the user's or a repository, which may have changed since
        yield from _differs(facts, "sha256", "the bundled set's", hashlib.sha256(content).hexdigest())
        yield from _differs(facts, "rows", "the bundled set's", content.count(b"\n"))


def source_code(run: OpenedRun) -> Iterator[Disagreement]:
    """The patch and the lock are those that the manifest has the hashes of."""
    code = run.manifest.code
    for file, key, digest in (
        (layout.SOURCE_PATCH, "git_diff_sha256", code.git_diff_sha256),
        (layout.LOCK, "lock_sha256", code.lock_sha256),
    ):
        if not run.has(file):
            # a run may fail because the patch is too large to keep
            if digest is not None and run.status == "completed":
                yield Disagreement(file, f"is missing: the manifest has its hash in `code.{key}`")
        elif digest != run.digests[file]:
            yield Disagreement(file, f"is not the file of `code.{key}` in the manifest")


def _differs(card: Mapping[str, Any], card_key: str, other: str, recorded: Any) -> Iterator[Disagreement]:
    found = lookup(card, card_key, layout.DATA_CARD)
    if canonical_json(found, file=layout.DATA_CARD) != canonical_json(recorded, file=layout.DATA_CARD):
        what = f"`{card_key}` is {found!r:.200}, but {other} is {recorded!r:.200}"
        yield Disagreement(layout.DATA_CARD, what)


def replay(run: OpenedRun) -> Iterator[Disagreement]:
    """What a replay says of the run that it repeats, it says alike in both places."""
    record = run.manifest.replay_of
    if not run.has(layout.REPLAY):
        if record is not None and run.status == "completed":
            yield Disagreement(layout.REPLAY, "is missing in a run that repeats another")
        return
    says = lookup(run.json(layout.REPLAY), "replay_of", layout.REPLAY)
    if says != (None if record is None else record.model_dump(mode="json")):
        yield Disagreement(layout.REPLAY, "`replay_of` is not that of the manifest")


def _first_lines(says: RunManifest) -> list[tuple[str, str]]:
    """How the lines about interpreter and processor begin and end."""
    python = [] if says.versions is None else [("python ", f" {says.versions['python']}")]
    return [*python, (f"processor {says.machine.processor},", "")]


def _plain(line: str) -> str:
    # a package is listed by the name that it gives itself: array_record, Markdown
    return line.strip().lower().replace("_", "-")


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
