"""Compare weightings of auxiliary tasks as a Ray job.

ray job submit -- python jobs/transfer.py --data s3://... --out s3://... --workers 8
"""

import sys

from distgnn.cli import main

sys.exit(main(["transfer", *sys.argv[1:]]))
