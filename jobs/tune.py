"""Tune hyperparameters as a Ray job.

ray job submit -- python jobs/tune.py --space adaptation --pretrain.corpus s3://... --out s3://...
"""

import sys

from distgnn.cli import main

sys.exit(main(["tune", *sys.argv[1:]]))
