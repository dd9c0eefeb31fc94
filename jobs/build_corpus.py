"""Build a corpus as a Ray job.

ray job submit -- python jobs/build_corpus.py molecules --input s3://... --out s3://... --workers 8
"""

import sys

from distgnn.cli import main

sys.exit(main(["corpus", "build", *sys.argv[1:]]))
