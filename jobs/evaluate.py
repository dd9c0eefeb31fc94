"""Evaluate fine-tuned models as a Ray job.

ray job submit -- python jobs/evaluate.py --model s3://... --corpus s3://... --out s3://...
"""

import sys

from distgnn.cli import main

sys.exit(main(["evaluate", *sys.argv[1:]]))
