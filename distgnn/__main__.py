"""``python -m distgnn``: the command line."""

import sys

from distgnn.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
