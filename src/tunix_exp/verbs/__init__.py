"""The verbs of the command line: a module each, whose `main(words)` gives the exit status.

A verb is imported when it is called, so that none waits for what another needs.
"""

import difflib
from importlib import import_module

from tunix_exp.errors import UserError

VERBS = ("verify", "replay", "pack", "report", "compare", "doctor")


def call(word: str, rest: list[str]) -> int:
    """The exit status of verb `word` with the words behind it."""
    if word not in VERBS:
        close = difflib.get_close_matches(word, VERBS, n=1)
        raise UserError(
            f"`{word}` is neither a verb nor key=value" + (f" — did you mean `{close[0]}`?" if close else ""),
            where="the command line",
            remedy=f"verbs: {', '.join(VERBS)}; an experiment takes key=value words; --help lists them",
        )
    return import_module(f"tunix_exp.verbs.{word}").main(rest)
