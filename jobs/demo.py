"""Demo (``make demo``): ``distgnn demo`` in build/demo, which is emptied first; under eight minutes, with the set-up."""

from __future__ import annotations

import shutil
import sys

from distgnn.cli import main

OUT = "build/demo"

if __name__ == "__main__":
    shutil.rmtree(OUT, ignore_errors=True)
    sys.exit(main(["demo", "--out", OUT]))
