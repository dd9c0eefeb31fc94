"""Fine-tune checkpoints as a Ray job.

ray job submit -- python jobs/finetune.py --corpus s3://... --checkpoint s3://... --workers 8
"""

import sys

from distgnn.cli import main

sys.exit(main(["finetune", *sys.argv[1:]]))
