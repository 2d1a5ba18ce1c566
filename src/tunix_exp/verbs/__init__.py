"""The verbs of the command line: a module each, whose `main(words)` gives the exit status.

`finish` and `sweep resume` give the words of an experiment instead, which the command line then runs; `data`
takes them.

A verb is imported when it is called, so that none waits for what another needs.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from tunix_exp.errors import UserError, did_you_mean, nearest

VERBS = ("verify", "replay", "finish", "pack", "report", "compare", "doctor", "data", "sweep")
_OF_AN_EXPERIMENT = ("data",)

Composed = Callable[[Sequence[str]], dict[str, Any]]
"""Gives the plain config of the experiment that the words are."""


def call(word: str, rest: list[str], composed: Composed) -> int | list[str]:
    """The exit status of verb `word` with the words behind it, or the experiment to run."""
    if word not in VERBS:
        raise UserError(
            f"`{word}` is neither a verb nor key=value{did_you_mean(nearest(word, VERBS))}",
            where="the command line",
            remedy=f"verbs: {', '.join(VERBS)}; an experiment takes key=value words; --help lists them",
        )
    verb = import_module(f"tunix_exp.verbs.{word}")
    return verb.main(rest, composed) if word in _OF_AN_EXPERIMENT else verb.main(rest)
