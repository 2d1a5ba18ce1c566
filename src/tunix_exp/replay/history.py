"""How configs changed since the first version: a recorded config in today's keys.

Only what a run recorded is read this way, never what a user types. A key that came later is given the value
that has the behaviour of before; a key that is gone had one value alone, which is what is computed today.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

from tunix_exp.config import Plain
from tunix_exp.errors import UserError


class Added(NamedTuple):
    """A key that came later; `of` says which configs have it."""

    key: str
    value: Any
    of: Callable[[Plain], bool]


class Removed(NamedTuple):
    """A key that is gone, and the only value that it had."""

    key: str
    value: Any


def _always(config: Plain) -> bool:
    return True


def _has_items(config: Plain) -> bool:
    return config["eval"]["kind"] == "items"


def _has_local_layers(config: Plain) -> bool:
    return "rope_local_base" in config["model"]


# In the order in which they came; all of them since 0.1.0 at 6a38004.
ADDED = (
    Added("optim.rounding", "nearest", _always),
    Added("eval.stop", [], _has_items),  # an answer ended at a token alone
    Added("objective.name", "sft", _always),
    # fields were named, and rows were questions with their answers
    Added("data.format", "question-answer", _always),
    Added("data.fields.input", None, _always),
    Added("data.fields.messages", None, _always),
    Added("data.fields.text", None, _always),
    Added("data.only", None, _always),
    Added("data.learn", "response", _always),
    Added("data.template.date", None, _always),
    Added("eval.format", "question-answer", _has_items),
    Added("eval.fields.input", None, _has_items),
    Added("eval.fields.messages", None, _has_items),
    Added("model.tied_embeddings", True, _always),
    Added("eval.share", None, _has_items),
    Added("data.mix", None, _always),
    Added("optim.schedule_per", "run", _always),
    Added("model.quantize", None, _always),
    Added("device.memory_fraction", None, _always),
    Added("model.rope_global_factor", None, _has_local_layers),
    Added("device.distributed.coordinator", None, _always),
    Added("device.distributed.processes", None, _always),
    Added("device.distributed.process", None, _always),
    Added("device.distributed.timeout_s", None, _always),
)
REMOVED = (
    Removed("eval.extractor", "v1"),  # a run's answers are scored again by today's
    Removed("eval.num_beams", 1),
    Removed("eval.do_sample", False),
)


def in_todays_keys(recorded: Plain, *, where: str) -> Plain:
    """A copy of a run's recorded config with the keys of today; what it says itself is kept."""
    config = copy.deepcopy(recorded)
    for key, value in REMOVED:
        group, leaf = _place(config, key)
        if leaf in group:
            found = group.pop(leaf)
            if type(found) is not type(value) or found != value:
                raise UserError(
                    f"`{key}` is {found!r}, and the versions that had this key computed {value!r} alone",
                    where=where,
                    remedy="repeat the run with the code that made it",
                )
    for key, value, of in ADDED:
        if of(config):
            group, leaf = _place(config, key)
            group.setdefault(leaf, copy.deepcopy(value))
    return config


def _place(config: Plain, key: str) -> tuple[Plain, str]:
    """The group that holds the key, made where the config has none, and the key's last part."""
    *path, leaf = key.split(".")
    for part in path:
        config = config.setdefault(part, {})
    return config, leaf
