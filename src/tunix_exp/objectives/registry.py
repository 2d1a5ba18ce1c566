"""Which objectives there are. An objective's modules are imported when they are asked for.

So configs are checked, and evidence is read, without JAX.
"""

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticKnownError

from tunix_exp.objectives.metric import Metric
from tunix_exp.schema import Config

if TYPE_CHECKING:
    from tunix_exp.objectives.objective import Objective

# name: its package, with `config.ObjectiveConfig`, `objective.objective`, and `evidence`, which has METRICS,
# KINDS and `contradictions`
PACKAGES: dict[str, str] = {"sft": "tunix_exp.objectives.sft"}


class ObjectiveConfig(Config):
    """The group `objective`: every objective has a class of its own, chosen by `name`."""

    name: str

    @property
    def updates(self) -> int:
        """How many updates are taken on each batch; `Objective.updates` is the same number."""
        return 1


def config_classes() -> tuple[type[ObjectiveConfig], ...]:
    """The config class of each objective."""
    return tuple(_module(name, "config").ObjectiveConfig for name in PACKAGES)


def validated(value: Any) -> Any:
    """The typed config of the objective that `name` chooses; anything but a mapping is left as it is."""
    if not isinstance(value, Mapping):
        return value
    if "name" not in value:
        raise PydanticKnownError("union_tag_not_found", {"discriminator": "'name'"})
    name = value["name"]
    if not isinstance(name, str) or name not in PACKAGES:
        expected = ", ".join(f"'{name}'" for name in PACKAGES)
        tag = str(name).encode(errors="replace").decode()  # Pydantic takes no broken byte
        context = {"discriminator": "'name'", "tag": tag, "expected_tags": expected}
        raise PydanticKnownError("union_tag_invalid", context)
    return _module(name, "config").ObjectiveConfig.model_validate(dict(value))


def metrics(name: str) -> tuple[Metric, ...]:
    """What the objective reports at every logged step, its loss first."""
    return _module(name, "evidence").METRICS


def kinds(name: str) -> tuple[Any, ...]:
    """The objective's own files of evidence; none of an objective that is not known."""
    return _module(name, "evidence").KINDS if name in PACKAGES else ()


def contradictions(name: str, line: Mapping[str, Any]) -> Iterator[str]:
    """What an objective's columns of a line of metrics.jsonl lack, or have against each other."""
    if name not in PACKAGES:
        yield f"it is of the objective {name}, which is none of {', '.join(PACKAGES)}"
        return
    missing = [metric.name for metric in metrics(name) if metric.name not in line]
    yield from (f"has no `{key}`" for key in missing)
    if not missing:
        yield from _module(name, "evidence").contradictions(line)


def name_in(config: Mapping[str, Any]) -> str:
    """The objective of a recorded config; before there was a choice, there was one."""
    if "objective" not in config:
        return "sft"
    chosen = config["objective"]
    return str(chosen["name"]) if isinstance(chosen, Mapping) and "name" in chosen else "(unnamed)"


def completed(config: dict[str, Any]) -> dict[str, Any]:
    """A recorded config with its objective, also where it is from before there was a choice."""
    return config if "objective" in config else {**config, "objective": {"name": name_in(config)}}


def objective(config: ObjectiveConfig) -> "Objective":
    """The objective itself."""
    return _module(config.name, "objective").objective(config)


def _module(name: str, part: str) -> Any:
    return importlib.import_module(f"{PACKAGES[name]}.{part}")
