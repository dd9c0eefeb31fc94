"""Clients of S3: settings from a URI's options over the AWS chain, no retries of their own, one client for each process."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

from boto3.session import Session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from distgnn.errors import RequestError
from distgnn.storage.retry import patience
from distgnn.storage.uri import S3Options

_CONNECT_SECONDS, _READ_SECONDS = 10.0, 30.0


def s3_client(options: S3Options) -> Any:
    """A client that renews its credentials itself; raises RequestError where the settings cannot be used.

    Kept, until the AWS variables or the patience change or the process is forked.
    """
    return _client(options, patience(), _surroundings())


def _surroundings() -> frozenset[tuple[str, str]]:
    """What a client follows from: a change of the AWS variables, or a fork, asks for a new one."""
    return frozenset({item for item in os.environ.items() if item[0].startswith("AWS_")} | {("pid", str(os.getpid()))})


@lru_cache(maxsize=8)
def _client(options: S3Options, seconds: float, surroundings: frozenset[tuple[str, str]]) -> Any:
    variables = dict(surroundings)
    named = options.endpoint or variables.get("AWS_ENDPOINT_URL_S3") or variables.get("AWS_ENDPOINT_URL")
    checksums = "AWS_REQUEST_CHECKSUM_CALCULATION" in variables or not named
    config = Config(
        connect_timeout=min(_CONNECT_SECONDS, max(seconds, 1.0)),
        read_timeout=min(_READ_SECONDS, max(seconds, 1.0)),
        retries={"total_max_attempts": 1, "mode": "standard"},  # distgnn.storage.retry does it
        signature_version=UNSIGNED if options.anonymous else None,
        # Many servers other than Amazon's refuse the checksums that newer clients add to every write.
        request_checksum_calculation=None if checksums else "when_required",
        response_checksum_validation=None if checksums else "when_required",
    )
    try:
        session = Session(profile_name=options.profile or None, region_name=options.region or None)
        region = session.region_name or ("us-east-1" if named else None)
        return session.client("s3", region_name=region, endpoint_url=options.endpoint or None, config=config)
    except (BotoCoreError, ValueError) as error:
        raise RequestError(f"cannot use S3: {' '.join(str(error).split())}; check the AWS settings") from error
