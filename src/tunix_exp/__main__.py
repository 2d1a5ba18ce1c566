"""`python -m tunix_exp …`, and the command `tunix_exp`."""

import sys

from tunix_exp.host_memory import ask_for_huge_pages


def command() -> int:
    """The exit status of the process's own command line."""
    ask_for_huge_pages()
    # Not before: the process may begin again.
    from tunix_exp.cli import main

    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(command())
