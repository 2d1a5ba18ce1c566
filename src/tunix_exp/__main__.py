"""`python -m tunix_exp …`, and the command `tunix_exp`."""

import sys

from tunix_exp import interruption, streams
from tunix_exp.exits import INTERRUPTED
from tunix_exp.host_memory import ask_for_huge_pages


def command() -> int:
    """The exit status of the process's own command line."""
    interruption.hold_back()
    ask_for_huge_pages()
    # Not before: the process may begin again.
    streams.keep()
    try:
        interruption.heed()
        from tunix_exp.cli import main

        return main(sys.argv[1:])
    except KeyboardInterrupt as stop:
        print(f"interrupted ({stop}) before anything was begun", file=sys.stderr)
        return INTERRUPTED
    finally:
        interruption.ended()


if __name__ == "__main__":
    sys.exit(command())
