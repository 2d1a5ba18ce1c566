"""`config.json`: the whole config, resolved, and what the manifest names of it again."""

from collections.abc import Mapping
from typing import Any

from tunix_exp.evidence.kinds.kind import Disagreement, Found, Kind, always
from tunix_exp.evidence.layout import CONFIG, MANIFEST
from tunix_exp.evidence.manifest import config_hash
from tunix_exp.evidence.opened import OpenedRun, differs

# A resolved config and the manifest name these twice, and must name the same.
_NAMED_TWICE = (
    "name", "seed", "mode.name",
    "model.name", "model.family", "model.weights",
    "adapter.name", "adapter.weights", "adapter.rank", "adapter.alpha", "adapter.scaling",
    "adapter.dropout", "adapter.merge_for_eval",
    "data.name", "data.source",
    "eval.kind", "eval.name", "eval.source", "eval.tasks",
)  # fmt: skip


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every leaf of `config` by its full key: `{"optim": {"peak_lr": 1}}` gives `optim.peak_lr`."""
    leaves: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            leaves |= flatten(value, f"{prefix}{name}.")
        else:
            leaves[prefix + name] = value
    return leaves


def _hashed(run: OpenedRun) -> Found:
    """It is the config whose hash the manifest has."""
    if config_hash(run.config) != run.manifest.config_hash:
        yield "is not the config of `config_hash` in the manifest"


def _named_twice(run: OpenedRun) -> Found:
    """The manifest names what the config names."""
    says = run.manifest.model_dump(mode="json")
    says["mode"] = {"name": says["mode"]}
    says["adapter"] = says["adapter"] or {"name": "none"}
    for key in _NAMED_TWICE:
        section, _, leaf = key.partition(".")
        if leaf and (says[section] is None or leaf not in says[section]):
            continue  # a section that this mode or kind of eval does not have
        recorded = says[section][leaf] if leaf else says[section]
        for what in differs(key, recorded, CONFIG, run.setting(key)):
            yield Disagreement(MANIFEST, what)


KIND = Kind(
    path=CONFIG,
    name="config",
    holds="the whole config, resolved",
    when=always,
    at_any_end=(_hashed,),
    integrity=(_named_twice,),
)
