"""Which objectives there are. An objective's modules are imported when they are asked for.

So configs are checked, and evidence is read, without JAX.
"""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

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
    tells_sets_apart: ClassVar[bool] = False
    """Whether it reports each set of a mixture: `objective` and `evidence` then have a part for them."""

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


def metrics(name: str, sets: Sequence[str] = ()) -> tuple[Metric, ...]:
    """What the objective reports at every logged step, its loss first; of a mixture also of each set."""
    evidence = _module(name, "evidence")
    return evidence.METRICS + (evidence.of_sets(sets) if sets else ())


def kinds(name: str) -> tuple[Any, ...]:
    """The objective's own files of evidence; none of an objective that is not known."""
    return _module(name, "evidence").KINDS if name in PACKAGES else ()


def contradictions(name: str, line: Mapping[str, Any], sets: Sequence[str] = ()) -> Iterator[str]:
    """What an objective's columns of a line of metrics.jsonl lack, or have against each other."""
    if name not in PACKAGES:
        yield f"it is of the objective {name}, which is none of {', '.join(PACKAGES)}"
        return
    described = metrics(name, sets)
    missing = [one.name for one in described if one.name not in line and _is_due(one, line)]
    yield from (f"has no `{key}`" for key in missing)
    if not missing:
        evidence = _module(name, "evidence")
        yield from (
            f"has `{one.name}` of nothing" for one in described if one.name in line and not _is_due(one, line)
        )
        yield from evidence.contradictions(line)
        yield from evidence.contradictions_of_sets(line, sets) if sets else ()


def _is_due(metric: Metric, line: Mapping[str, Any]) -> bool:
    """Whether the batch has what the figure is of, as far as the line says."""
    return metric.counted_by is None or metric.counted_by not in line or line[metric.counted_by] != 0


def name_in(config: Mapping[str, Any]) -> str:
    """The objective of a recorded config; before there was a choice, there was one."""
    if "objective" not in config:
        return "sft"
    chosen = config["objective"]
    return str(chosen["name"]) if isinstance(chosen, Mapping) and "name" in chosen else "(unnamed)"


def sets_in(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the sets of a recorded config, where they are mixed."""
    mix: Any = config
    for part in ("data", "mix"):
        mix = mix[part] if isinstance(mix, Mapping) and part in mix else None
    return tuple(mix) if isinstance(mix, Mapping) else ()


def completed(config: dict[str, Any]) -> dict[str, Any]:
    """A recorded config with its objective, also where it is from before there was a choice."""
    return config if "objective" in config else {**config, "objective": {"name": name_in(config)}}


def objective(config: ObjectiveConfig, sets: tuple[str, ...] = ()) -> "Objective":
    """The objective itself, for batches of one set or of those of a mixture."""
    make = _module(config.name, "objective").objective
    return make(config, sets) if sets else make(config)


def _module(name: str, part: str) -> Any:
    return importlib.import_module(f"{PACKAGES[name]}.{part}")
