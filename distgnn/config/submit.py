"""Config of ``distgnn submit``. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass

from distgnn.config.base import check
from distgnn.config.fields import runtime


@dataclass(frozen=True)
class SubmitConfig:
    """Run a command as a job on a Ray cluster. Options are validated before the upload; files that look like
    credentials are not uploaded.

    The exit code is that of the job. Options of submit come first. A command other than those of distgnn follows "--".
    Manage submitted jobs with Ray: ray job list, ray job logs --follow ID, ray job stop ID.

    Example: distgnn submit --address http://head:8265 pretrain --corpus s3://data/zinc --out s3://runs --workers 8
    """

    address: str = runtime("")
    """Dashboard URL of the cluster (http://HOST:8265), or its address (HOST:6379); empty = RAY_API_SERVER_ADDRESS, else
    RAY_ADDRESS, else the Ray cluster on this machine.
    """
    working_dir: str = runtime("")
    """Folder to upload, without secrets and files excluded by its .gitignore and .rayignore; empty = the source
    checkout that distgnn runs from or, if distgnn is installed, only the package.
    """
    env: tuple[str, ...] = runtime(())
    """Environment variables of the job: NAME=VALUE, or NAME to pass on its local value. No other variables are passed.
    Ray stores the values with the job; set credentials on the nodes instead.
    """
    reserve: tuple[str, ...] = runtime(())
    """Resources that the job's own process reserves, which choose its node: NAME=AMOUNT, such as driver=1 in the clusters
    of cluster/kube; empty = the head.
    """
    wait: bool = runtime(True)
    """Stream the job's output until it ends, and exit with its exit code. Ctrl-C does not stop the job."""

    dry_run: bool = runtime(False)
    """Only list what would be uploaded, with sizes, and what is left out because it looks like a credential."""

    def __post_init__(self) -> None:
        for item in self.reserve:
            name, _, amount = item.partition("=")
            good = bool(name) and amount.isdecimal() and int(amount) > 0
            check(good, f"reserve: {item!r} is not NAME=AMOUNT with a whole number; give for example driver=1")
        for item in self.env:
            good = item.partition("=")[0].isidentifier()
            check(good, f"env: {item.partition('=')[0]!r} is not a name; give NAME=VALUE or NAME")
