"""`python -m tunix_exp …`."""

import sys

from tunix_exp.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
