"""The verbs of the command line: a module each, whose `main(words)` gives the exit status.

`finish` gives the words of an experiment instead, which the command line then runs.

A verb is imported when it is called, so that none waits for what another needs.
"""

from importlib import import_module

from tunix_exp.errors import UserError, did_you_mean, nearest

VERBS = ("verify", "replay", "finish", "pack", "report", "compare", "doctor")


def call(word: str, rest: list[str]) -> int | list[str]:
    """The exit status of verb `word` with the words behind it, or the experiment to run."""
    if word not in VERBS:
        raise UserError(
            f"`{word}` is neither a verb nor key=value{did_you_mean(nearest(word, VERBS))}",
            where="the command line",
            remedy=f"verbs: {', '.join(VERBS)}; an experiment takes key=value words; --help lists them",
        )
    return import_module(f"tunix_exp.verbs.{word}").main(rest)
