"""S3 clients: options of a URI combined with the AWS credential chain, one cached client per process."""

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
    """A boto3 client for ``options``, which refreshes its credentials.

    It is cached until AWS variables or the retry limit change, or the process is forked.

    Raises:
        RequestError: If the settings are invalid.
    """
    return _client(options, patience(), _surroundings())


def _surroundings() -> frozenset[tuple[str, str]]:
    """Cache key of a client: the AWS variables and the process id."""
    return frozenset({item for item in os.environ.items() if item[0].startswith("AWS_")} | {("pid", str(os.getpid()))})


@lru_cache(maxsize=8)
def _client(options: S3Options, seconds: float, surroundings: frozenset[tuple[str, str]]) -> Any:
    variables = dict(surroundings)
    named = options.endpoint or variables.get("AWS_ENDPOINT_URL_S3") or variables.get("AWS_ENDPOINT_URL")
    checksums = "AWS_REQUEST_CHECKSUM_CALCULATION" in variables or not named
    config = Config(
        connect_timeout=min(_CONNECT_SECONDS, max(seconds, 1.0)),
        read_timeout=min(_READ_SECONDS, max(seconds, 1.0)),
        retries={"total_max_attempts": 1, "mode": "standard"},  # distgnn.storage.retry retries
        signature_version=UNSIGNED if options.anonymous else None,
        # Many S3-compatible servers reject the checksums that newer clients add to every write.
        request_checksum_calculation=None if checksums else "when_required",
        response_checksum_validation=None if checksums else "when_required",
    )
    try:
        session = Session(profile_name=options.profile or None, region_name=options.region or None)
        region = session.region_name or ("us-east-1" if named else None)
        return session.client("s3", region_name=region, endpoint_url=options.endpoint or None, config=config)
    except (BotoCoreError, ValueError) as error:
        raise RequestError(f"cannot use S3: {' '.join(str(error).split())}; check the AWS settings") from error
