"""Pre-train as a Ray job.

ray job submit -- python jobs/pretrain.py --corpus s3://... --out s3://... --workers 8
"""

import sys

from distgnn.cli import main

sys.exit(main(["pretrain", *sys.argv[1:]]))
