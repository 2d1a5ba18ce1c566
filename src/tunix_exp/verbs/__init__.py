"""The verbs of the command line: a module each, whose `main(words)` gives the exit status.

A verb is imported when it is called, so that none waits for what another needs.
"""

from importlib import import_module

from tunix_exp.errors import UserError, did_you_mean, nearest

VERBS = ("verify", "replay", "pack", "report", "compare", "doctor")


def call(word: str, rest: list[str]) -> int:
    """The exit status of verb `word` with the words behind it."""
    if word not in VERBS:
        raise UserError(
            f"`{word}` is neither a verb nor key=value{did_you_mean(nearest(word, VERBS))}",
            where="the command line",
            remedy=f"verbs: {', '.join(VERBS)}; an experiment takes key=value words; --help lists them",
        )
    return import_module(f"tunix_exp.verbs.{word}").main(rest)
