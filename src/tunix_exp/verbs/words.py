"""The words behind a verb, parsed; what does not parse is refused as every command refuses."""

import argparse
from typing import NoReturn

from tunix_exp.errors import UserError


class Words(argparse.ArgumentParser):
    """An argument parser whose complaint is a `UserError`, and that guesses no option from its beginning."""

    def __init__(self, verb: str, says: str) -> None:
        """`says` stands under the usage when help is asked for."""
        super().__init__(prog=f"python -m tunix_exp {verb}", description=says, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print."""
        usage = " ".join(self.format_usage().removeprefix("usage: ").split())
        raise UserError(message, where="the command line", remedy=usage)
